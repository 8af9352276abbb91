package bridge

import (
	"errors"
	"testing"

	"banger/internal/model"
	"banger/internal/network"
)

// TestCheck asks of VMs what their rules let through, and of one that has none.
func TestCheck(t *testing.T) {
	t.Parallel()
	d := withNetd(t, t.TempDir())
	set := func(id model.VMID, slot int, policy string) network.Link {
		t.Helper()
		l, err := d.Set(t.Context(), id, network.Spec{Slot: slot, Kind: network.LinkTap, Name: "box", Policy: policy})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	a, b := model.NewVMID(), model.NewVMID()
	link := set(a, 1, "public,10.9.0.2:7000,group:x")
	peer := set(b, 2, "group:x")
	gateway := link.Gateway.String()
	for _, c := range []struct {
		id          model.VMID
		destination string
		allowed     bool
		rule        string
	}{
		{a, "93.184.216.34:443", true, "public"},
		{a, "10.9.0.2:7000", true, "10.9.0.2:7000"},
		{a, "10.9.0.2:7001", false, "10.0.0.0/8 is a private network (RFC 1918)"},
		{a, "169.254.169.254:80", false, "169.254.0.0/16 is link-local addresses and metadata services"},
		{a, gateway + ":53", true, "DNS"},
		{a, gateway + ":80", false, ""},
		{a, peer.Address.Addr().String() + ":80", true, "both VMs are in one group"},
		{b, link.Address.Addr().String() + ":80", true, "both VMs are in one group"},
		{b, "93.184.216.34:443", false, "no entry of the policy allows it"},
		{b, gateway + ":53", true, "DNS"},
		{b, "example.org:443", false, "no entry of the policy names it"},
		{a, "[2606:2800::1]:443", false, "guests have no IPv6"},
	} {
		v, err := d.Check(t.Context(), c.id, c.destination, false)
		if err != nil || v.Allowed != c.allowed || c.rule != "" && v.Rule != c.rule {
			t.Errorf("%s: %+v, %v; want %t by %q", c.destination, v, err, c.allowed, c.rule)
		}
	}
	for _, bad := range []string{"", "nonsense", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:65536", ":80"} {
		if _, err := d.Check(t.Context(), a, bad, false); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	set(a, 1, "none")
	if v, err := d.Check(t.Context(), a, "93.184.216.34:443", false); err != nil || v.Allowed {
		t.Errorf("after a change: %+v, %v", v, err)
	}
	if v, err := d.Check(t.Context(), a, peer.Address.Addr().String()+":80", false); err != nil || v.Allowed {
		t.Errorf("out of the group: %+v, %v", v, err)
	}
	if err := d.Clear(t.Context(), a, model.NetHandles{}); err != nil {
		t.Fatal(err)
	}
	_, cerr := d.Check(t.Context(), a, "93.184.216.34:443", false)
	if _, derr := d.Denied(t.Context(), a); !errors.Is(cerr, model.ErrNotFound) || !errors.Is(derr, model.ErrNotFound) {
		t.Errorf("of a VM that has no network: %v, %v", cerr, derr)
	}
}
