package bridge

import (
	"cmp"
	"context"
	"net/netip"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"banger/internal/helper/hostnet"
	"banger/internal/model"
	"banger/internal/network"
)

// told is what the driver was told of a VM last, and what came of it.
type told struct {
	spec   network.Spec
	rules  hostnet.Rules
	direct network.Direct
	port   hostnet.Port
}

// tellings are those of all VMs.
type tellings struct {
	mu  sync.Mutex
	vms map[model.VMID]told
}

func (t *tellings) set(id model.VMID, what told) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.vms == nil {
		t.vms = map[model.VMID]told{}
	}
	t.vms[id] = what
}

func (t *tellings) keep(keeps func(model.VMID) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.vms {
		if !keeps(id) {
			delete(t.vms, id)
		}
	}
}

func (t *tellings) get(id model.VMID) (told, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	what, known := t.vms[id]
	return what, known
}

// gateway is that of a VM that has one, which is that of all.
func (t *tellings) gateway() netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, what := range t.vms {
		return what.port.Gateway
	}
	return netip.Addr{}
}

// known is for who asks of a VM that may have no network.
func (d *Driver) known(id model.VMID) error {
	if _, known := d.told.get(id); !known {
		return model.Errorf(model.ErrNotFound, "cannot explain the network of %s: it has none", id)
	}
	return nil
}

// Check implements network.Explainer. The process that answers the VM's questions for names has its policy, too, and the
// code that decides for the user network.
func (d *Driver) Check(ctx context.Context, id model.VMID, destination string, udp bool) (model.Verdict, error) {
	if err := d.known(id); err != nil {
		return model.Verdict{}, err
	}
	return d.o.Publisher.Check(ctx, id, destination, udp)
}

// Denied implements network.Explainer. What the kernel refused is explained by that code; it tells the rule that says no now.
func (d *Driver) Denied(ctx context.Context, id model.VMID) ([]model.Denial, error) {
	if err := d.known(id); err != nil {
		return nil, err
	}
	found, err := d.o.Verbs.Denials(ctx, id)
	if err != nil {
		return nil, err
	}
	var refused []model.Denial
	for _, f := range found {
		denial := model.Denial{Protocol: protocolName(f.Protocol), Destination: f.To.String(), Count: f.Packets, Last: f.Last}
		if f.To.Port() == 0 {
			denial.Destination = f.To.Addr().String()
		}
		refused = append(refused, denial)
	}
	return d.o.Publisher.Explain(ctx, id, refused)
}

func protocolName(number uint8) string {
	names := map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_ICMP: "icmp"}
	return cmp.Or(names[number], strconv.Itoa(int(number)))
}
