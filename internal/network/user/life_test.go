package user

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/procs"
)

// life is that of three VMs, over an installation whose netd is the one that is shipped.
type life struct {
	d   *Driver
	ids []model.VMID // of one at a socket, one in a jail, and one whose packets another driver carries
}

func newLife(host string, ids []model.VMID) life {
	d := New(Options{
		Dirs: dirs.Dirs{State: host}, Instance: "abcdefgh", Program: filepath.Join(host, "real-netd"), Log: slog.New(slog.DiscardHandler),
	})
	l := life{d, ids}
	d.options.Jails = l
	return l
}

// There and OpenTap are Jails'.
func (l life) There(id model.VMID) bool { return id == l.ids[1] }

// OpenTap returns a packet socket at which nothing arrives.
func (life) OpenTap(context.Context, model.VMID) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	return os.NewFile(uintptr(fd), "tap"), err
}

// begin has all three have their network.
func (l life) begin(ctx context.Context) error {
	self, err := procs.Self()
	if err != nil {
		return err
	}
	s := network.Spec{Slot: 1, Kind: network.LinkSocket, Name: "socket", Policy: "public", Dir: l.d.options.Dirs.VM(l.ids[0])}
	s.Ports = []model.PortForward{{HostIP: model.Loopback(), GuestPort: 80}}
	if _, err := l.d.Set(ctx, l.ids[0], s); err != nil {
		return err
	}
	s = network.Spec{Slot: 2, Kind: network.LinkJailTap, Name: "jailed", Policy: "public", Dir: l.d.options.Dirs.VM(l.ids[1])}
	if _, err := l.d.Set(ctx, l.ids[1], s); err != nil {
		return err
	}
	if err := l.d.Up(ctx, l.ids[1], self); err != nil {
		return err
	}
	_, err = l.d.Publish(ctx, l.ids[2], network.Direct{ // without doors, for which there is no bridge
		Name: "direct", Address: netip.MustParseAddr("198.18.4.2"), Gateway: netip.MustParseAddr("198.18.4.1"), Policy: "none",
		Ports: []model.PortForward{{HostIP: model.Loopback(), GuestPort: 80}},
	})
	return err
}

// end takes it from all.
func (l life) end(ctx context.Context) error {
	return errors.Join(l.d.Withdraw(ctx, l.ids[2]), l.d.Clear(ctx, l.ids[1], model.NetHandles{}), l.d.Clear(ctx, l.ids[0], model.NetHandles{}))
}

// passEveryPoint does all that there is to do, and ends with what is no success in any case.
func passEveryPoint(host string, args []string) int {
	var ids []model.VMID
	for _, a := range args {
		ids = append(ids, model.VMID(a))
	}
	ctx, l := context.Background(), newLife(host, ids)
	err := l.begin(ctx)
	if err == nil {
		err = endNetd(ctx, l.d.current().pid, unix.SIGKILL)
	}
	if err == nil {
		err = l.begin(ctx) // the next netd is told again
	}
	if err = errors.Join(err, l.end(ctx), l.d.Sweep(ctx, nil)); err != nil {
		os.Stderr.WriteString(err.Error())
	}
	return 1
}
