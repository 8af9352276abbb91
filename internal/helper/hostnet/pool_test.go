package hostnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/testenv"
)

// look is what there is of an installation.
func (h host) look(t *testing.T, n *Host) (found Found) {
	t.Helper()
	var err error
	h.do(func() { found, err = n.List(t.Context()) })
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// call does one verb.
func (h host) call(t *testing.T, verb func(context.Context) error) {
	t.Helper()
	h.do(func() {
		if err := verb(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// shows is what ip(8) tells of a device, "" for none.
func (h host) shows(name string) (said string) {
	h.do(func() {
		out, _ := exec.Command("ip", "-o", "-d", "link", "show", "dev", name).Output()
		said = string(out)
	})
	return said
}

func (h host) index(t *testing.T, name string) (index int) {
	t.Helper()
	h.do(func() {
		i, err := net.InterfaceByName(name)
		if err != nil {
			t.Error(err)
			return
		}
		index = i.Index
	})
	return index
}

// hasNoIPv6 requires of devices that they neither speak it nor listen to routers.
func (h host) hasNoIPv6(t *testing.T, names ...string) {
	t.Helper()
	h.do(func() {
		for _, name := range names {
			off, err := getSysctl("ipv6/conf/" + name + "/disable_ipv6")
			listens, rerr := getSysctl("ipv6/conf/" + name + "/accept_ra")
			if off != "1" || listens != "0" || err != nil || rerr != nil {
				t.Errorf("%s: IPv6 is off: %s, %v; routers are listened to: %s, %v", name, off, err, listens, rerr)
			}
		}
	})
}

// TestTapsAreReady has a VM get one that was made before it, and another be made.
func TestTapsAreReady(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	h.call(t, n.Prepare)
	if found := h.look(t, n); len(found.Spare) > 0 || found.Bridge != "" {
		t.Errorf("without a VM there is %+v", found)
	}
	first := model.NewVMID()
	h.set(t, n, first, 1, "public")
	h.call(t, n.Prepare)
	ready := h.look(t, n).Spare
	if len(ready) != spares {
		t.Fatalf("ready are %v", ready)
	}
	indexes := map[int]bool{}
	for _, name := range ready {
		indexes[h.index(t, name)] = true
		said := h.shows(name)
		for _, want := range []string{"master " + n.bridge(), "isolated on", "learning off", "flood off", "persist on"} {
			if !strings.Contains(said, want) {
				t.Errorf("%s is not %q: %s", name, want, said)
			}
		}
		if strings.Contains(said, "UP") {
			t.Errorf("%s is up: %s", name, said)
		}
		h.hasNoIPv6(t, name)
	}
	g := h.attach(t, n, 2, "public")
	if !indexes[h.index(t, g.port.Tap)] {
		t.Errorf("%s is none of those that were ready", g.port.Tap)
	}
	if _, err := g.ask("tcp4", internet, port); err != nil {
		t.Errorf("its network does not work: %v", err)
	}
	if left := h.look(t, n).Spare; len(left) != spares-1 {
		t.Errorf("after one was taken there are %v", left)
	}
	h.call(t, n.Prepare)
	if again := h.look(t, n).Spare; len(again) != spares {
		t.Errorf("then there are %v", again)
	}
	// More VMs than that at once.
	for slot := 3; slot < 3+2*spares; slot++ {
		h.set(t, n, model.NewVMID(), slot, "none")
	}
	if found := h.look(t, n); len(found.Ports) != 2+2*spares || len(found.Spare) != 0 {
		t.Errorf("there are %+v", found)
	}
}

// TestASpareTapIsShut has somebody open one, as its owner may, and raise it, as only root can: nothing gets through.
func TestASpareTapIsShut(t *testing.T) {
	t.Parallel()
	nft := testenv.NeedTool(t, "nft")
	h := newHost(t)
	n := h.installation(t)
	h.set(t, n, model.NewVMID(), 1, "open")
	h.call(t, n.Prepare)
	name := n.tap(MaxSlot + 1)
	address := addressIn(h.part(t, n), 9)
	h.do(func() {
		tap, err := openTap(name)
		if err != nil {
			t.Error(err)
			return
		}
		defer tap.Close()
		if _, err := tap.Write(make([]byte, 10+60)); err == nil {
			t.Error("one that is down takes a frame")
		}
		links, err := handle(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		defer links.Close()
		link, err := findPort(links, name)
		if err == nil {
			err = links.LinkSetUp(link)
		}
		if err != nil {
			t.Error(err)
			return
		}
		who := arp(model.HardwareAddress(n.o.Instance, 9), address, addressIn(h.partHere(t, n), 0))
		reaches := func() bool {
			before := received(t, links, n.bridge())
			if _, err := tap.Write(append(make([]byte, 10), who...)); err != nil {
				t.Error(err)
			}
			time.Sleep(patience / 10)
			return received(t, links, n.bridge()) != before
		}
		if reaches() {
			t.Error("a frame reaches the host")
		}
		if out, err := exec.Command(nft, "flush", "chain", "bridge", n.table(), "prerouting").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		if !reaches() {
			t.Error("without the rule it does not either, so this shows nothing")
		}
	})
}

// received is how many packets the host got of a device.
func received(t *testing.T, links *netlink.Handle, name string) uint64 {
	t.Helper()
	l, err := links.LinkByName(name)
	if err != nil {
		t.Error(err)
		return 0
	}
	return l.Attrs().Statistics.RxPackets
}

// arp is a question for the gateway's hardware address.
func arp(from net.HardwareAddr, address, gateway netip.Addr) []byte {
	frame := append(append(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, from...), 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1)
	frame = append(append(frame, from...), address.AsSlice()...)
	return append(append(frame, 0, 0, 0, 0, 0, 0), gateway.AsSlice()...)
}

func (h host) part(t *testing.T, n *Host) (part netip.Prefix) {
	t.Helper()
	h.do(func() { part = h.partHere(t, n) })
	return part
}

// partHere is for within the namespace.
func (h host) partHere(t *testing.T, n *Host) netip.Prefix {
	t.Helper()
	links, err := handle(t.Context())
	if err != nil {
		t.Error(err)
		return netip.Prefix{}
	}
	defer links.Close()
	_, part, err := n.bridgeRange(links)
	if err != nil || !part.IsValid() {
		t.Errorf("the range is %s, %v", part, err)
	}
	return part
}

// TestATapIsLeftAndRecycled has a VM go while another stays.
func TestATapIsLeftAndRecycled(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	h.set(t, n, model.NewVMID(), 1, "public")
	before := h.listing(t)
	id := model.NewVMID()
	p := h.set(t, n, id, 2, "public,group:a", someDoors...)
	h.call(t, func(ctx context.Context) error { return n.Detach(ctx, id) })
	found := h.look(t, n)
	if len(found.Ports) != 1 || len(found.Left) != 1 || h.shows(p.Tap) != "" {
		t.Errorf("there are %+v", found)
	}
	if said := h.shows(found.Left[0]); said == "" || strings.Contains(said, "UP") {
		t.Errorf("what is left is %q", said)
	}
	h.call(t, n.Recycle)
	if after := h.listing(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	h.call(t, n.Recycle)
}

// TestRecyclingLeavesOthers has taps with such names that are not the installation's, and one of it that goes with its VMM.
func TestRecyclingLeavesOthers(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	h.set(t, n, model.NewVMID(), 1, "public")
	for _, name := range []string{"bx-aaaaaaaa1", n.left(7) + "x", "bx_aaaaaabaaaaa", "bt-aaaaaaaa1022"} {
		h.ip(t, "tuntap add "+name+" mode tap")
	}
	h.ip(t, "link add "+n.left(8)+" type bridge")
	var held interface{ Close() error }
	h.do(func() {
		tap, err := openTap(n.left(9))
		if err != nil {
			t.Error(err)
		}
		held = tap
	})
	before := h.listing(t)
	h.call(t, n.Recycle)
	if after := h.listing(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if err := held.Close(); err != nil {
		t.Error(err)
	}
}

// connections counts what the host's kernel tracks of an address.
func (h host) connections(t *testing.T, address netip.Addr) (count int) {
	t.Helper()
	h.do(func() {
		tracked, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			t.Error(err)
			return
		}
		defer closeLater(tracked.Close)
		flows, err := whole(func() ([]*netlink.ConntrackFlow, error) {
			return tracked.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		})
		if err != nil {
			t.Error(err)
		}
		for _, f := range flows {
			if f.Forward.SrcIP.Equal(address.AsSlice()) || f.Forward.DstIP.Equal(address.AsSlice()) {
				count++
			}
		}
	})
	return count
}

// TestASlotsNextVMInheritsNothing has VMs follow each other in a slot before its taps are recycled.
func TestASlotsNextVMInheritsNothing(t *testing.T) {
	t.Parallel()
	testenv.NeedTool(t, "ip")
	h := newHost(t)
	n := h.installation(t)
	h.set(t, n, model.NewVMID(), 1, "none")
	talk := func(g guest, times int) {
		t.Helper()
		for range times {
			if _, err := g.ask("tcp4", internet, port); err != nil {
				t.Error(err)
			}
		}
		if got := h.connections(t, g.port.Address); got < times {
			t.Errorf("the kernel knows %d connections of %s, want %d", got, g.port.Address, times)
		}
	}
	leave := func(g guest) {
		t.Helper()
		g.close()
		h.call(t, func(ctx context.Context) error { return n.Detach(ctx, g.id) })
	}
	old := h.attach(t, n, 2, "public")
	talk(old, 3)
	leave(old)

	// The same VM's are its own; and what began to recycle the tap meanwhile leaves them.
	var begun *discard
	h.do(func() {
		links, err := handle(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		defer links.Close()
		s, err := n.devices(links)
		if err == nil {
			begun, err = n.newDiscard(links, s)
		}
		if err != nil {
			t.Error(err)
		}
	})
	again := h.attachAs(t, n, old.id, 2, "public")
	if got := h.connections(t, old.port.Address); got < 3 {
		t.Errorf("started again, of its connections %d are known", got)
	}
	talk(again, 1)
	had := h.connections(t, old.port.Address)
	if err := begun.do(); err != nil {
		t.Error(err)
	}
	if got := h.connections(t, old.port.Address); got != had {
		t.Errorf("of %d connections %d are left", had, got)
	}
	leave(again)

	// Another VM's are forgotten before it can see any of it.
	next := h.attach(t, n, 2, "public")
	if got := h.connections(t, next.port.Address); got != 0 {
		t.Errorf("the next VM inherits %d connections", got)
	}
	talk(next, 1)
	h.call(t, n.Recycle)
	if got := h.connections(t, next.port.Address); got != 1 {
		t.Errorf("of its connections %d are left, want 1", got)
	}
	leave(next)

	// Two taps of one slot wait at once, and recycling forgets what the slot's last VM left.
	last := h.attach(t, n, 2, "public")
	talk(last, 2)
	leave(last)
	if found := h.look(t, n); len(found.Left) != 1 {
		t.Errorf("left are %v", found.Left)
	}
	h.call(t, n.Recycle)
	if found, got := h.look(t, n), h.connections(t, last.port.Address); len(found.Left) != 0 || got != 0 {
		t.Errorf("left are %v and %d connections", found.Left, got)
	}
}

// TestSharedRulesAreMadeOnce adds a VM without touching them, and makes them whole where another version's, or somebody,
// has them otherwise.
func TestSharedRulesAreMadeOnce(t *testing.T) {
	t.Parallel()
	nft := testenv.NeedTool(t, "nft")
	h := newHost(t)
	n := h.installation(t)
	first := model.NewVMID()
	h.set(t, n, first, 1, "public")
	run := func(command string) (said string) {
		t.Helper()
		h.do(func() {
			out, err := exec.Command(nft, strings.Fields(command)...).CombinedOutput()
			if err != nil {
				t.Errorf("nft %s: %v: %s", command, err, out)
			}
			said = string(out)
		})
		return said
	}
	// A rule's handle is another one when it is made again.
	hooks := func() string { return run(fmt.Sprintf("-a list chain ip %s output", n.table())) }
	before := hooks()
	h.set(t, n, model.NewVMID(), 2, "public,group:a", someDoors...)
	if after := hooks(); after != before {
		t.Errorf("before:\n%s\nafter a VM came:\n%s", before, after)
	}
	run(fmt.Sprintf("flush chain ip %s output", n.table()))
	h.set(t, n, first, 1, "public")
	if got := strings.Count(hooks(), "oifname"); got != strings.Count(before, "oifname") {
		t.Errorf("of what was flushed %d rules are there:\n%s", got, hooks())
	}
	note := n.note(h.part(t, n))
	run(fmt.Sprintf("delete chain ip %s %s", n.table(), note))
	run(fmt.Sprintf("add chain ip %s made-elsewhere", n.table()))
	before = hooks()
	h.set(t, n, model.NewVMID(), 3, "public")
	if after := hooks(); after == before {
		t.Error("what another version made is as it was")
	}
	if all := run("list table ip " + n.table()); !strings.Contains(all, note) || strings.Contains(all, "made-elsewhere") {
		t.Errorf("it is noted otherwise:\n%s", all)
	}
}
