package bridge

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"banger/internal/helper/hostnet"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/network/networktest"
)

// notes has verbs that note what was asked for.
type notes struct {
	Verbs
	attached map[model.VMID]hostnet.Rules
}

func (n notes) Attach(_ context.Context, id model.VMID, _ int, want hostnet.Rules) (hostnet.Port, error) {
	n.attached[id] = want
	return hostnet.Port{ID: id, Address: netip.MustParseAddr("198.18.4.2"), Gateway: netip.MustParseAddr("198.18.4.1")}, nil
}

func (n notes) Detach(_ context.Context, id model.VMID) error {
	delete(n.attached, id)
	return nil
}

func (n notes) List(context.Context) (found hostnet.Found, err error) {
	for id := range n.attached {
		found.Ports = append(found.Ports, hostnet.Port{ID: id, Tap: "bt", Ruled: true})
		found.Gateway = netip.MustParseAddr("198.18.4.1")
	}
	return found, nil
}

func (notes) ListenNames(context.Context) (hostnet.Sockets, error) {
	return hostnet.Sockets{}, model.Errorf(model.ErrUnsupported, "nobody asks for names here")
}

func (notes) Recycle(context.Context) error { return nil }
func (notes) Prepare(context.Context) error { return nil }

// TestPortsThatCannotBeLeaveAllAsItWas has a change of a policy, and of ports one of which another VM has: of a VM that is
// set for the first time, of one that was set before, and of one that a daemon set which is no more.
func TestPortsThatCannotBeLeaveAllAsItWas(t *testing.T) {
	t.Parallel()
	n := notes{attached: map[model.VMID]hostnet.Rules{}}
	publisher := networktest.NewPublisher(t.TempDir())
	daemon := func() *Driver {
		d := New(Options{Verbs: n, Publisher: publisher, Log: slog.New(slog.DiscardHandler)})
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
		return d
	}
	d := daemon()
	taken := []model.PortForward{{HostIP: model.Loopback(), HostPort: 8080, GuestPort: 80}}
	other, id := model.NewVMID(), model.NewVMID()
	spec := func(policy string, ports ...model.PortForward) network.Spec {
		return network.Spec{Slot: 1, Kind: network.LinkTap, Name: "box", Policy: policy, Ports: ports}
	}
	link, err := d.Set(t.Context(), other, spec("none", taken...))
	if err != nil || len(link.Ports) != 1 || link.Ports[0] != taken[0] {
		t.Fatalf("%+v, %v", link, err)
	}
	refused := func(d *Driver, policy string) {
		t.Helper()
		if _, err := d.Set(t.Context(), id, spec(policy, taken...)); !errors.Is(err, model.ErrExists) {
			t.Errorf("got %v, want ErrExists", err)
		}
	}
	refused(d, "open")
	if rules, there := n.attached[id]; there {
		t.Errorf("there is a port with %+v", rules)
	}
	if _, err := d.Set(t.Context(), id, spec("none")); err != nil {
		t.Fatal(err)
	}
	refused(d, "open")
	if got := n.attached[id].Policy.String(); got != "none" {
		t.Errorf("the policy is %s", got)
	}
	// What was before the daemon is not known: the VM keeps a network, which is as its row says.
	next := daemon()
	refused(next, "public")
	if _, there := n.attached[id]; !there {
		t.Error("a VM that runs has lost its network")
	}
	if err := next.Clear(t.Context(), other, model.NetHandles{}); err != nil {
		t.Error(err)
	}
	if got := publisher.Ports(other); len(got) != 0 {
		t.Errorf("published are %v", got)
	}
	if _, err := next.Set(t.Context(), id, spec("public", taken...)); err != nil {
		t.Error(err)
	}
	// Its rules lead to where the process is, which may be elsewhere later.
	if got := n.attached[id].Redirects; len(got) != 2 || got[0].Port != 53 || got[0].To != got[1].To || got[0].UDP == got[1].UDP {
		t.Errorf("the redirects are %+v", got)
	}
}
