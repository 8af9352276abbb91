package bridge

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"banger/internal/helper/hostnet"
	"banger/internal/helper/resolved"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/network/networktest"
)

// life is that of two VMs on a host on which a third has a port.
type life struct {
	d         *Driver
	publisher networktest.Publisher
	ids       []model.VMID
}

// taken is the third one's port.
var taken = model.PortForward{HostIP: model.Loopback(), HostPort: 8080, GuestPort: 80}

func newLife(host, bus string, ids []model.VMID) life {
	l := life{publisher: networktest.NewPublisher(host), ids: ids}
	verbs := hostnet.New(hostnet.Options{Instance: installation(host), Resolved: resolved.Options{Bus: bus}})
	l.d = New(Options{Verbs: verbs, Publisher: l.publisher, Log: slog.New(slog.DiscardHandler)})
	return l
}

// set gives one of the VMs its network, and returns when nothing goes on in the background.
func (l life) set(ctx context.Context, n int, policy string, ports ...model.PortForward) error {
	name := []string{"one", "two"}[n]
	_, err := l.d.Set(ctx, l.ids[n], network.Spec{Slot: n + 1, Kind: network.LinkTap, Name: name, Policy: policy, Ports: ports})
	l.settle()
	return err
}

// refused is set with a port that cannot be had.
func (l life) refused(ctx context.Context, n int) error {
	if err := l.set(ctx, n, "open", taken); !errors.Is(err, model.ErrExists) {
		return model.Errorf(model.ErrState, "a port that another VM has: %w", err)
	}
	return nil
}

func (l life) clear(ctx context.Context, n int) error {
	defer l.settle()
	return l.d.Clear(ctx, l.ids[n], model.NetHandles{})
}

func (l life) sweep(ctx context.Context, keep map[model.VMID]bool) error {
	defer l.settle()
	return l.d.Sweep(ctx, keep)
}

func (l life) settle() {
	l.d.tasks.Wait()
	l.d.names.tasks.Wait()
	l.d.pool.tasks.Wait()
}

// passEveryPoint does all that there is to do, and ends with what is no success in any case.
func passEveryPoint(host, bus string, args []string) int {
	l := newLife(host, bus, []model.VMID{model.VMID(args[0]), model.VMID(args[1])})
	ctx, port := context.Background(), model.PortForward{HostIP: model.Loopback(), GuestPort: 80}
	for _, step := range []func() error{
		func() error { return l.refused(ctx, 0) }, // with nothing there
		func() error { return l.set(ctx, 0, "web.example:443", port) },
		func() error { return l.set(ctx, 0, "web.example:443,group:a", port) },
		func() error { return l.refused(ctx, 0) },
		func() error { return l.refused(ctx, 1) },
		func() error { return l.set(ctx, 1, "public") },
		func() error { l.d.renew(l.ids[0]); l.settle(); return nil },
		func() error { return l.clear(ctx, 1) },
		func() error { return l.clear(ctx, 0) },
		func() error { return l.sweep(ctx, nil) },
	} {
		if err := step(); err != nil {
			os.Stderr.WriteString(err.Error())
			break
		}
	}
	return 1
}
