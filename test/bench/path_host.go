package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// staticSelf returns this program if it runs in any guest.
func staticSelf() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	file, err := elf.Open(self)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return "", errors.New("this program needs libraries that a guest may not have: build it with CGO_ENABLED=0, as make bench does")
	}
	return self, nil
}

func (p *paths) overLoopback(ctx context.Context, self string) (*path, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, peerArgument, l.Addr().String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return p.serve(ctx, "the host's loopback", l, follower(cmd))
}

func (p *paths) throughBanger(ctx context.Context, m *home, self string) (*path, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	if err := m.startVM(ctx, "box", "--host-port", port); err != nil {
		return nil, err
	}
	if err := settle(ctx, m, "box"); err != nil {
		return nil, err
	}
	if _, err := m.banger(ctx, "cp", self, "box:"+guestProgram); err != nil {
		return nil, err
	}
	cmd := m.command(ctx, "vm", "exec", "box", "--", guestProgram, peerArgument, net.JoinHostPort("host.banger.internal", port))
	return p.serve(ctx, "banger", l, follower(cmd))
}

// mtu is what banger gives its guests.
func (m *home) mtu(ctx context.Context) (int, error) {
	out, err := m.banger(ctx, "vm", "exec", "box", "--", "sh", "-c", "cat /sys/class/net/e*/mtu")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(out)
}

// follower starts a command that runs a peer.
func follower(cmd *exec.Cmd) func() (<-chan error, error) {
	return func() (<-chan error, error) {
		var said strings.Builder
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		ended := make(chan error, 1)
		go func() {
			err := firstError(cmd.Wait(), io.EOF)
			ended <- fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
		}()
		return ended, nil
	}
}
