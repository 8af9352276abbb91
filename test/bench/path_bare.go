package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/network"
)

// missing is why a floor could not be measured on this host.
type missing struct{ error }

func (m missing) Unwrap() error { return m.error }

func (p *paths) throughBare(ctx context.Context, m *home, bare bareVMM, self string, mtu int) (*path, error) {
	mac, err := bare.mac()
	if err != nil {
		return nil, err
	}
	v, err := bootConfigured(ctx, m, bare, network.Link{
		Kind: network.LinkSocket, MAC: mac, MTU: mtu, Address: netip.PrefixFrom(wireGuest(), 32), Gateway: wireHost(),
	})
	if v != nil {
		p.ends = append(p.ends, v.close)
	}
	if err != nil {
		return nil, err
	}
	l, stop, err := startWire(ctx, filepath.Join(v.dir, "link"), mtu)
	if err != nil {
		return nil, missing{err}
	}
	p.ends = append(p.ends, stop)
	g, err := v.agent(ctx)
	if err != nil {
		return nil, err
	}
	p.ends = append(p.ends, func() { g.Close() })
	if err := install(ctx, g, self); err != nil {
		return nil, err
	}
	return p.serve(ctx, "P: bare QEMU, its frames passed through to a tap", l, func() (<-chan error, error) {
		return execPeer(ctx, g, l.Addr().String())
	})
}

// mac is the hardware address that QEMU gives the guest's interface.
func (b bareVMM) mac() (net.HardwareAddr, error) {
	for _, argument := range b.argv {
		var device struct{ MAC string }
		if json.Unmarshal([]byte(argument), &device) == nil && device.MAC != "" {
			return net.ParseMAC(device.MAC)
		}
	}
	return nil, errors.New("banger's QEMU has no network device")
}

// install copies this program to a bare guest.
func install(ctx context.Context, g *guest.Guest, self string) error {
	file, err := os.Open(self)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	archive, out := io.Pipe()
	defer archive.Close()
	go func() {
		w := tar.NewWriter(out)
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.Base(guestProgram), Mode: 0o755, Size: info.Size()})
		if err == nil {
			_, err = io.Copy(w, file)
		}
		out.CloseWithError(errors.Join(err, w.Close()))
	}()
	_, err = g.WriteFiles(ctx, model.FileWrite{Dir: filepath.Dir(guestProgram), User: "root"}, archive)
	return err
}

// execPeer runs the peer in a bare guest, until that ends.
func execPeer(ctx context.Context, g *guest.Guest, address string) (<-chan error, error) {
	a, err := g.Exec(ctx, "peer", model.ExecSpec{Argv: []string{guestProgram, peerArgument, address}}, false)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		defer a.Close()
		var said strings.Builder
		for {
			out, err := a.Recv()
			if err != nil {
				ended <- fmt.Errorf("%w: %s", err, said.String())
				return
			}
			said.Write(out.Stderr)
		}
	}()
	return ended, nil
}
