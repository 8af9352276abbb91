package networktest

import (
	"fmt"
	"net/netip"
	"testing"

	"banger/internal/model"
	"banger/internal/network"
)

// check asks a driver about destinations, each with the rule that it shall name, after "allowed: " if it is.
func (w *world) check(t *testing.T, id model.VMID, want map[string]string) {
	t.Helper()
	x, ok := w.Driver.(network.Explainer)
	if !ok {
		t.Fatal("it does not explain what a policy does")
	}
	for destination, rule := range want {
		v, err := x.Check(t.Context(), id, destination, false)
		if said := answer(v); err != nil || said != rule {
			t.Errorf("%s: %q, %v, want %q", destination, said, err, rule)
		}
	}
}

func answer(v model.Verdict) string {
	if v.Allowed {
		return "allowed: " + v.Rule
	}
	return v.Rule
}

func (w *world) change(t *testing.T, id model.VMID, slot int, change func(*network.Spec)) network.Link {
	t.Helper()
	s := w.spec(slot)
	change(&s)
	link, err := w.Set(t.Context(), id, s)
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// domains has a policy with names, which are no addresses, beside others; and another one while the VM runs.
func domains(t *testing.T, w *world) {
	if !w.h.Explains {
		t.Skip("this driver does not tell")
	}
	id := model.NewVMID()
	list := func(s *network.Spec) { s.Policy = "web.example:443,*.test.example,11.0.0.9" }
	if !w.Carries(network.Wants{Policy: "web.example:443", HostPorts: true}) {
		t.Error("it does not carry names")
	}
	want := map[string]string{
		"11.0.0.2:443":      "no entry of the policy allows it",
		"11.0.0.9:7":        "allowed: 11.0.0.9",
		"other.example:443": "no entry of the policy names it",
		"test.example:443":  "no entry of the policy names it",
	}
	w.change(t, id, 1, list)
	w.check(t, id, want)
	w.restart(t)
	w.change(t, id, 1, list)
	w.check(t, id, want)
	w.change(t, id, 1, func(s *network.Spec) { s.Policy = "public" })
	w.check(t, id, map[string]string{"11.0.0.2:443": "allowed: public", "10.9.0.2:443": "10.0.0.0/8 is a private network (RFC 1918)"})
	w.change(t, id, 1, func(s *network.Spec) { s.Policy = "none" })
	w.check(t, id, map[string]string{"11.0.0.2:443": "the policy is none", "web.example:443": "the policy is none"})
}

// hostPorts opens ports of the host and closes them, whatever the policy is but none.
func hostPorts(t *testing.T, w *world) {
	if !w.h.Explains {
		t.Skip("this driver does not tell")
	}
	id, other := model.NewVMID(), model.NewVMID()
	link := w.set(t, id, 1)
	w.set(t, other, 2)
	at := func(port uint16) string { return netip.AddrPortFrom(link.Gateway, port).String() }
	shut := "port 5432 of the host is not opened to the VM"
	w.check(t, id, map[string]string{at(5432): shut, "host.banger.internal:5432": shut, at(53): "allowed: DNS"})
	for _, policy := range []string{"public", "open", "group:x"} {
		open := func(s *network.Spec) { s.Policy, s.HostPorts = policy, []uint16{5432, 53} }
		w.change(t, id, 1, open)
		w.check(t, id, map[string]string{at(5432): "allowed: host port 5432", "host.banger.internal:5432": "allowed: host port 5432", at(53): "allowed: DNS"})
		w.check(t, other, map[string]string{at(5432): shut})
		w.restart(t)
		w.set(t, other, 2)
		w.change(t, id, 1, open)
		w.check(t, id, map[string]string{at(5432): "allowed: host port 5432"})
	}
	w.change(t, id, 1, func(s *network.Spec) { s.Policy, s.HostPorts = "none", []uint16{5432} })
	w.check(t, id, map[string]string{at(5432): "the policy is none", at(53): "the policy is none"})
	w.change(t, id, 1, func(*network.Spec) {})
	w.check(t, id, map[string]string{at(5432): shut})
}

// groups has VMs that know each other as long as they are in one group.
func groups(t *testing.T, w *world) {
	if !w.h.Explains {
		t.Skip("this driver does not tell")
	}
	one, two := model.NewVMID(), model.NewVMID()
	join := func(policy string) func(*network.Spec) { return func(s *network.Spec) { s.Policy = policy } }
	w.change(t, one, 1, join("group:x"))
	link := w.change(t, two, 2, join("public,group:y,group:x"))
	address := netip.AddrPortFrom(link.Address.Addr(), 80).String()
	peers := "allowed: both VMs are in one group"
	w.check(t, one, map[string]string{address: peers, "vm-2:80": peers, "vm-2.banger.internal:80": peers, "vm-3:80": "no entry of the policy names it"})
	w.check(t, two, map[string]string{"vm-1:80": peers})
	x, ok := w.Driver.(network.Explainer)
	if v, err := x.Check(t.Context(), one, "vm-2:80", false); !ok || err != nil || fmt.Sprint(v.Addresses) != fmt.Sprint([]netip.Addr{link.Address.Addr()}) {
		t.Errorf("its name stands for %v, %v", v.Addresses, err)
	}
	w.change(t, two, 2, join("group:y"))
	w.check(t, one, map[string]string{
		address: "198.18.0.0/15 is the range of the VMs; those of one group:NAME reach each other", "vm-2:80": "no entry of the policy names it",
	})
}
