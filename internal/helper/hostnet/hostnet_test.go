package hostnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/egress"
	"banger/internal/model"
	"banger/internal/testenv"
)

// TestPolicies requires of the kernel's rules the very verdicts that netd gives.
func TestPolicies(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	g := h.attach(t, n, 1, "none")
	own := func(a netip.Addr) bool { return a.String() == hostPublic || a.String() == hostPrivate }
	for _, policy := range []string{
		"none", "public", "open", "11.0.0.3", "10.9.0.0/24:7000", "10.9.0.0/24:7001", "public,10.9.0.2", "0.0.0.0/0", "group:a",
		"public,group:a", "100.64.0.2:7000,11.0.0.2:7001", "10.9.0.1",
	} {
		h.set(t, n, g.id, 1, policy)
		parsed, err := model.ParsePolicy(policy)
		if err != nil {
			t.Fatal(err)
		}
		rules := egress.New(parsed, own)
		for _, to := range []string{internet, internet2, private, provider, metadata, hostPublic, hostPrivate} {
			for _, network := range []string{"tcp4", "udp4"} {
				want := rules.Decide(netip.AddrPortFrom(netip.MustParseAddr(to), port), nil)
				said, err := g.ask(network, to, port)
				local := own(netip.MustParseAddr(to))
				switch {
				case want.Allowed && err != nil:
					t.Errorf("%s: %s to %s: %v, and netd allows it by %s", policy, network, to, err, want.Rule)
				case !want.Allowed && (err == nil || network == "tcp4" && !errors.Is(err, errRefused)):
					t.Errorf("%s: %s to %s: got %q, %v, and netd refuses it: %s", policy, network, to, said, err, want.Rule)
				case want.Allowed && !local && said != hostPublic && said != hostPrivate:
					t.Errorf("%s: %s to %s comes from %s", policy, network, to, said)
				}
			}
		}
	}
	if _, err := g.ask("tcp4", g.port.Gateway.String(), port); !errors.Is(err, errRefused) {
		t.Errorf("the gateway: %v", err)
	}
}

// TestAChangeCutsWhatIsOpen narrows a policy under a connection, which one that goes on allowing it does not disturb.
func TestAChangeCutsWhatIsOpen(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	g := h.attach(t, n, 1, "open")
	var c net.Conn
	var err error
	g.do(func() { c, err = net.DialTimeout("tcp4", fmt.Sprintf("%s:%d", private, port), patience) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 100)
	if _, err := c.Read(buf); err != nil {
		t.Fatal(err)
	}
	echo := func() error {
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := c.Read(buf)
		return err
	}
	h.set(t, n, g.id, 1, "10.9.0.0/24:7000")
	if err := echo(); err != nil {
		t.Errorf("allowed before and after: %v", err)
	}
	bad := Rules{Policy: model.Policy{Kind: model.KindList, Entries: []model.PolicyEntry{{Domain: "Example.org"}}}}
	h.do(func() { _, err = n.Attach(t.Context(), g.id, 1, bad) })
	if !errors.Is(err, model.ErrInvalid) {
		t.Errorf("a bad domain: %v", err)
	}
	if err := echo(); err != nil {
		t.Errorf("after a change that failed: %v", err)
	}
	h.set(t, n, g.id, 1, "public")
	if err := echo(); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("after it was forbidden: %v", err)
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n, other := h.installation(t), h.installation(t)
	a, b := h.attach(t, n, 1, "public"), h.attach(t, n, 2, "open")
	stranger := h.attach(t, other, 1, "open")
	for _, g := range []guest{a, b, stranger} {
		g.serve(t, g.port.Address.String(), port)
	}
	if a.port.Gateway == stranger.port.Gateway {
		t.Errorf("two installations have the gateway %s", a.port.Gateway)
	}
	reaches := func(from, to guest, want bool) {
		t.Helper()
		for _, network := range []string{"tcp4", "udp4"} {
			if said, err := from.ask(network, to.port.Address.String(), port); (err == nil) != want || want && said != from.port.Address.String() {
				t.Errorf("%s from %s to %s: got %q, %v, want %v", network, from.port.Address, to.port.Address, said, err, want)
			}
		}
	}
	reaches(a, b, false)
	reaches(b, a, false)
	reaches(b, stranger, false)
	h.set(t, n, a.id, 1, "public,group:x")
	reaches(a, b, false)
	h.set(t, n, b.id, 2, "group:x,group:y")
	reaches(a, b, true)
	reaches(b, a, true)
	h.set(t, n, a.id, 1, "public,group:y")
	reaches(a, b, true)
	h.set(t, n, b.id, 2, "group:x")
	reaches(a, b, false)
	reaches(b, a, false)
	// Nobody reaches a guest from outside, nor what the host has at the gateway's address.
	h.set(t, n, b.id, 2, "open")
	h.serve(t, b.port.Gateway.String(), port)
	h.far.ip(t, "route add 198.18.0.0/15 via "+hostPublic)
	if said, err := h.far.ask("tcp4", b.port.Address.String(), port); err == nil {
		t.Errorf("from outside: %q", said)
	}
	if said, err := h.far.ask("udp4", b.port.Gateway.String(), port); err == nil {
		t.Errorf("the gateway, from outside: %q", said)
	}
	if said, err := h.ask("tcp4", b.port.Address.String(), port); err != nil || said != b.port.Gateway.String() {
		t.Errorf("from the host: %q, %v", said, err)
	}
}

// TestOnlyItsOwnerReachesAGuest has an installation of a user's who is not root: of the host, nobody else gets to a guest.
func TestOnlyItsOwnerReachesAGuest(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const owner, other = 65534, 65533
	n := New(Options{Instance: model.NewInstanceID(), UID: owner})
	if data, err := os.ReadFile("/proc/self/uid_map"); err != nil || !strings.Contains(string(data), " 4294967295") {
		t.Skip("not run: needs root, to be other users")
	}
	g := h.attach(t, n, 1, "none")
	g.serve(t, g.port.Address.String(), port)
	for uid, want := range map[uint32]bool{owner: true, other: false, 0: false} {
		h.do(func() {
			cmd := exec.Command("timeout", "2", "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d && read -r line <&3", g.port.Address, port))
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
			if out, err := cmd.CombinedOutput(); (err == nil) != want {
				t.Errorf("user %d: %v, %s, want %v", uid, err, out, want)
			}
		})
	}
	g.close()
	h.do(func() {
		if err := n.Detach(t.Context(), g.id); err != nil {
			t.Error(err)
		}
	})
}

// settings prints those that change with forwarding.
const settings = "cat /proc/sys/net/ipv4/ip_forward; cd /proc/sys/net/ipv4/conf; grep . */forwarding */accept_redirects"

// listing is all that a host has of devices, addresses, routes, rules and forwarding. What a device finds out by itself is
// left out.
func (s *space) listing(t *testing.T) string {
	t.Helper()
	nft := testenv.NeedTool(t, "nft")
	var all strings.Builder
	s.do(func() {
		for _, c := range []string{"ip -o link | sed 's/<[^>]*>//; s/ state [A-Z]*//'", "ip -4 -o addr", "ip route | sed 's/ linkdown//'", settings, nft + " list ruleset"} {
			all.WriteString(said(t, c))
		}
	})
	return all.String()
}

// said is what a command of a shell's says.
func said(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

// TestWhatIsNotOursStays has devices and rules of others, of which some look as if they were another installation's.
func TestWhatIsNotOursStays(t *testing.T) {
	t.Parallel()
	nft := testenv.NeedTool(t, "nft")
	h := newHost(t)
	h.ip(t, "link add br0 type bridge", "link set br0 up", "addr add 198.19.7.1/24 dev br0", "tuntap add foreign mode tap", "link set foreign master br0",
		"link add bb-aaaaaaaa type bridge", "tuntap add bt-aaaaaaaa1 mode tap")
	h.do(func() {
		cmd := exec.Command(nft, "-f", "-")
		cmd.Stdin = strings.NewReader(`
			add table ip banger-aaaaaaaa
			add chain ip banger-aaaaaaaa vm-aaaaaaaaaaaaaaaa-1
			add rule ip banger-aaaaaaaa vm-aaaaaaaaaaaaaaaa-1 accept
			add table inet firewall
			add set inet firewall s { type ipv4_addr; elements = { 1.2.3.4 } }
			add chain inet firewall forward { type filter hook forward priority 0; policy accept; }
			add rule inet firewall forward ip saddr @s drop
		`)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	before := h.listing(t)
	n := New(Options{Instance: model.NewInstanceID()})
	id, second := model.NewVMID(), model.NewVMID()
	h.set(t, n, id, 1, "public,group:a", someDoors...)
	h.set(t, n, second, 2, "open")
	if during := h.listing(t); !strings.Contains(during, "bt-"+string(n.o.Instance)+"2") || !strings.Contains(during, "\n1\n") {
		t.Errorf("there is no tap, or no forwarding: %s", during)
	}
	h.do(func() {
		for _, id := range []model.VMID{id, second, id} {
			if err := n.Detach(t.Context(), id); err != nil {
				t.Error(err)
			}
		}
	})
	if after := h.listing(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestForwardingIsGivenBackByTheLast has two installations, of which the one that came second goes last.
func TestForwardingIsGivenBackByTheLast(t *testing.T) {
	t.Parallel()
	for _, was := range []string{"0", "1"} {
		h := newHost(t)
		h.ip(t, "link add lan type bridge")
		var before string
		h.do(func() {
			forwards := func(want string) {
				t.Helper()
				if got, err := getSysctl(forwardIn); got != want || err != nil {
					t.Errorf("was %s: forwarding is %s, %v, want %s", was, got, err, want)
				}
			}
			// As no kernel has them by itself: all that is written here changes with forwarding.
			for _, s := range [][2]string{{forwardIn, was}, {acceptRedirects, was}, {forwardsOf("default"), "1"}, {forwardsOf("lan"), "1"}, {forwardsOf("v0"), "0"}} {
				if err := setSysctl(s[0], s[1]); err != nil {
					t.Error(err)
				}
			}
			before = said(t, settings)
			one, two, id := New(Options{Instance: model.NewInstanceID()}), New(Options{Instance: model.NewInstanceID()}), model.NewVMID()
			for _, n := range []*Host{one, two} {
				if _, err := n.Attach(t.Context(), id, 1, Rules{}); err != nil {
					t.Error(err)
				}
				forwards("1")
			}
			for _, n := range []*Host{one, two} {
				forwards("1")
				if err := n.Detach(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
			forwards(was)
			if after := said(t, settings); after != before {
				t.Errorf("was %s: before:\n%s\nafter:\n%s", was, before, after)
			}
		})
	}
}

// TestTheMTU is that of the way out, where the bridge can have it.
func TestTheMTU(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for wayOut, want := range map[int]int{1200: minMTU, 1400: 1400, 9001: maxMTU} {
		h.ip(t, fmt.Sprintf("link set v0 mtu %d", wayOut))
		n, id := New(Options{Instance: model.NewInstanceID()}), model.NewVMID()
		if p := h.set(t, n, id, 1, "public"); p.MTU != want || !strings.Contains(h.shows(p.Tap), fmt.Sprintf("mtu %d ", want)) {
			t.Errorf("beside a way out of %d there is %+v: %s", wayOut, p, h.shows(p.Tap))
		}
		h.call(t, func(ctx context.Context) error { return n.Detach(ctx, id) })
	}
	h.ip(t, "route del default")
	n := h.installation(t)
	if p := h.set(t, n, model.NewVMID(), 1, "public"); p.MTU != defaultMTU {
		t.Errorf("without a way out there is %+v", p)
	}
}

// TestASlotIsOneVMs gives a slot that was left over to another VM, and a VM another slot.
func TestASlotIsOneVMs(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	old, id := model.NewVMID(), model.NewVMID()
	h.set(t, n, old, 1, "open")
	h.set(t, n, id, 1, "group:b")
	h.set(t, n, id, 3, "group:b")
	h.do(func() {
		found, err := n.List(t.Context())
		if err != nil || len(found.Ports) != 1 || found.Ports[0].ID != id || found.Ports[0].Slot != 3 || !found.Ports[0].Ruled {
			t.Errorf("%+v, %v", found, err)
		}
		if _, err := n.Open(t.Context(), old); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("the old one: %v", err)
		}
		f, err := n.Open(t.Context(), id)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if _, err := n.Open(t.Context(), id); !errors.Is(err, model.ErrState) {
			t.Errorf("a second holder: %v", err)
		}
		for _, slot := range []int{0, -1, MaxSlot + 1} {
			if _, err := n.Attach(t.Context(), id, slot, Rules{}); !errors.Is(err, model.ErrUnsupported) {
				t.Errorf("slot %d: %v", slot, err)
			}
		}
		if _, err := n.Attach(t.Context(), id, MaxSlot, Rules{}); err != nil {
			t.Error(err)
		}
		if err := n.Detach(t.Context(), "../../etc"); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("an id that is none: %v", err)
		}
	})
}
