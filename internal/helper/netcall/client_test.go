package netcall_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"banger/internal/helper/hostnet"
	"banger/internal/helper/netcall"
	"banger/internal/helper/serve"
	"banger/internal/helper/serve/servetest"
	"banger/internal/model"
)

// answers is a host that says what it was told to.
type answers struct {
	problem   string
	err       error
	found     hostnet.Found
	obstacles []hostnet.Obstacle
	names     hostnet.Names
	denials   []hostnet.Denial
	asked     chan hostnet.Rules
	pinned    chan string
	kept      *sync.Map // VMIDs
}

func (a answers) Problem() string { return a.problem }

func (a answers) Attach(_ context.Context, id model.VMID, slot int, want hostnet.Rules) (hostnet.Port, error) {
	if a.asked != nil {
		a.asked <- want
	}
	return hostnet.Port{
		ID: id, Slot: slot, Tap: "bt_x", Ruled: true, MAC: model.HardwareAddress(instance, slot), MTU: 1400,
		Address: netip.MustParseAddr("198.18.4.9"), Gateway: netip.MustParseAddr("198.18.4.1"),
	}, a.err
}

func (a answers) PinAddresses(_ context.Context, id model.VMID, slot int, p hostnet.Pin) error {
	if a.pinned != nil {
		a.pinned <- fmt.Sprint(id, slot, p)
	}
	return a.err
}

func (a answers) Open(context.Context, model.VMID) (*os.File, error) {
	f, err := os.Open("/dev/null")
	return f, errors.Join(err, a.err)
}

func (a answers) Detach(context.Context, model.VMID) error { return a.err }

func (a answers) Sweep(_ context.Context, keep map[model.VMID]bool) error {
	for id := range keep {
		a.kept.Store(id, true)
	}
	return a.err
}

func (a answers) Recycle(context.Context) error { return a.err }

func (a answers) Prepare(context.Context) error { return a.err }

func (a answers) List(context.Context) (hostnet.Found, error) {
	found := a.found
	found.Ports = slices.Clone(found.Ports)
	return found, a.err
}

func (a answers) ListenNames(context.Context) (hostnet.Sockets, error) {
	udp, uerr := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	tcp, terr := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	return hostnet.Sockets{UDP: udp, TCP: tcp}, errors.Join(uerr, terr, a.err)
}

func (a answers) TellResolved(context.Context) error { return a.err }

func (a answers) LookNames(context.Context) (hostnet.Names, error) { return a.names, a.err }

func (a answers) Denials(context.Context, model.VMID) ([]hostnet.Denial, error) {
	return a.denials, a.err
}

func (a answers) Obstacles(context.Context) ([]hostnet.Obstacle, error) { return a.obstacles, a.err }

func client(t *testing.T, a answers) *netcall.Client {
	t.Helper()
	return netcall.New(servetest.Here(t, service(func(serve.Caller) netcall.Host { return a })), instance)
}

func TestWhatIsAskedForArrives(t *testing.T) {
	t.Parallel()
	a := answers{asked: make(chan hostnet.Rules, 1)}
	c := client(t, a)
	id := model.NewVMID()
	for _, text := range []string{"none", "open", "public", "public,10.1.2.3:5432,group:web,192.0.2.0/24", "*.example.org:443,web.example"} {
		for _, redirects := range [][]model.Redirect{nil, {{Port: 53, To: 5353}, {UDP: true, Port: 53, To: 65535}}} {
			want := policy(t, text)
			want.Redirects = redirects
			got, err := c.Attach(t.Context(), id, 9, want)
			if err != nil {
				t.Fatal(err)
			}
			asked := <-a.asked
			there, _ := answers{}.Attach(t.Context(), id, 9, asked)
			if !reflect.DeepEqual(got, there) || !reflect.DeepEqual(asked, want) {
				t.Errorf("%s: %+v, asked for %+v", text, got, asked)
			}
		}
	}
	for _, slot := range []int{-1, 0, hostnet.MaxSlot + 1, 1 << 33} {
		if _, err := c.Attach(t.Context(), id, slot, hostnet.Rules{}); !errors.Is(err, model.ErrUnsupported) {
			t.Errorf("slot %d: %v", slot, err)
		}
	}
}

func TestPinsArrive(t *testing.T) {
	t.Parallel()
	a := answers{pinned: make(chan string, 1)}
	id := model.NewVMID()
	want := hostnet.Pin{Life: model.MaxPin + model.PinGrace}
	for i := range 256 { // the longest that there can be
		want.Entries = append(want.Entries, fmt.Sprintf("%s%d.org:65535", strings.Repeat("a", 40), i))
		want.Addresses = append(want.Addresses, netip.AddrFrom4([4]byte{11, 0, 0, byte(i)}))
	}
	if err := client(t, a).PinAddresses(t.Context(), id, 9, want); err != nil {
		t.Fatal(err)
	}
	if got := <-a.pinned; got != fmt.Sprint(id, 9, want) {
		t.Errorf("there arrived %.300s", got)
	}
	for _, kind := range []error{model.ErrNotFound, model.ErrUnavailable} {
		if err := client(t, answers{err: model.Errorf(kind, "no")}).PinAddresses(t.Context(), id, 9, want); !errors.Is(err, kind) {
			t.Errorf("got %v, want %v", err, kind)
		}
	}
	for _, slot := range []int{-1, 0, hostnet.MaxSlot + 1, 1 << 33} {
		if err := client(t, a).PinAddresses(t.Context(), id, slot, want); !errors.Is(err, model.ErrUnsupported) {
			t.Errorf("slot %d: %v", slot, err)
		}
	}
}

func TestListsHaveNoLimit(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 256, 257, 512, 2 * hostnet.MaxSlot} {
		var want hostnet.Found
		keep := map[model.VMID]bool{model.NewVMID(): true}
		for i := range n {
			p := hostnet.Port{ID: model.NewVMID(), Slot: i/2 + 1, Tap: strings.Repeat("t", 15), Ruled: i%2 == 0, MAC: model.HardwareAddress(instance, i), MTU: 9000}
			if i%100 == 7 {
				p.ID = ""
			}
			want.Ports = append(want.Ports, p)
			if i%3 == 0 && p.ID != "" {
				keep[p.ID] = true
			}
		}
		if n > 0 {
			want.Bridge, want.Tables = "bb_x", []string{"bridge x", "ip x"}
			want.Spare, want.Left = []string{"bt_y", "bt_z"}, []string{"bx_x"}
			want.Gateway = netip.MustParseAddr("198.18.4.1")
		}
		a := answers{found: want, kept: &sync.Map{}}
		c := client(t, a)
		got, err := c.List(t.Context())
		byID := func(a, b hostnet.Port) int {
			return strings.Compare(string(a.ID)+fmt.Sprintf("%05d", a.Slot), string(b.ID)+fmt.Sprintf("%05d", b.Slot))
		}
		want.Ports = slices.Clone(want.Ports)
		slices.SortFunc(want.Ports, byID)
		slices.SortStableFunc(got.Ports, byID)
		if err != nil || len(got.Ports) != n || n > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("%d: %d, %v", n, len(got.Ports), err)
		}
		if err := c.Sweep(t.Context(), keep); err != nil {
			t.Error(err)
		}
		for _, p := range want.Ports {
			if _, kept := a.kept.Load(p.ID); kept != keep[p.ID] {
				t.Errorf("of %d ports %q is kept: %t", n, p.ID, kept)
			}
		}
	}
}

func TestManyObstaclesAreCounted(t *testing.T) {
	t.Parallel()
	var all []hostnet.Obstacle
	for range 1000 {
		all = append(all, hostnet.Obstacle{Chain: strings.Repeat("o", 600), Fix: strings.Repeat("f", 1300)})
	}
	got, err := client(t, answers{obstacles: all}).Obstacles(t.Context())
	if err != nil || len(got) != 33 || got[32].Chain != "968 other chains" {
		t.Errorf("got %d, %v", len(got), err)
	}
	if got, err := client(t, answers{obstacles: all[:3]}).Obstacles(t.Context()); err != nil || !slices.Equal(got, all[:3]) {
		t.Errorf("got %d, %v", len(got), err)
	}
}

func TestDenialsArrive(t *testing.T) {
	t.Parallel()
	var want []hostnet.Denial
	for i := range 300 { // more than are remembered
		want = append(want, hostnet.Denial{
			Protocol: 17, To: netip.AddrPortFrom(netip.MustParseAddr("255.255.255.255"), uint16(65535-i)), Packets: 1<<64 - 1, Last: time.UnixMilli(1 << 42),
		})
	}
	got, err := client(t, answers{denials: want}).Denials(t.Context(), model.NewVMID())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %d, %v", len(got), err)
	}
	if _, err := client(t, answers{err: model.Errorf(model.ErrUnavailable, "not now")}).Denials(t.Context(), model.NewVMID()); !errors.Is(err, model.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestAFailureBringsNoDescriptor(t *testing.T) {
	t.Parallel()
	c := client(t, answers{err: model.Errorf(model.ErrState, "another process has it open")})
	if f, err := c.Open(t.Context(), model.NewVMID()); !errors.Is(err, model.ErrState) || f != nil {
		t.Errorf("got %v, %v", f, err)
	}
}

func TestProblemsNameTheCommand(t *testing.T) {
	t.Parallel()
	if got := client(t, answers{problem: "there is no nftables"}).Problem(); got != "there is no nftables" {
		t.Errorf("the host's: %q", got)
	}
	socket := servetest.Here(t, service(func(serve.Caller) netcall.Host { return answers{} }))
	unborn := netcall.New(socket, "")
	if got := unborn.Problem(); got != "" {
		t.Errorf("before there is an installation: %q", got)
	}
	found, err := unborn.List(t.Context())
	if serr := unborn.Sweep(t.Context(), nil); err != nil || serr != nil || len(found.Ports) > 0 {
		t.Errorf("before there is an installation: %+v, %v, %v", found, err, serr)
	}
	absent := netcall.New(filepath.Join(t.TempDir(), "absent"), model.NewInstanceID())
	if got := absent.Problem(); !strings.Contains(got, "not installed; run: sudo banger system install") {
		t.Errorf("without a helper: %q", got)
	}
	id := model.NewVMID()
	_, aerr := absent.Attach(t.Context(), id, 1, hostnet.Rules{})
	_, oerr := absent.Open(t.Context(), id)
	if !errors.Is(aerr, model.ErrUnsupported) || !errors.Is(oerr, model.ErrUnsupported) {
		t.Errorf("without a helper: %v, %v", aerr, oerr)
	}
	// Who took it away took the devices along.
	found, err = absent.List(t.Context())
	if derr, serr := absent.Detach(t.Context(), id), absent.Sweep(t.Context(), nil); derr != nil || serr != nil || err != nil || len(found.Ports) > 0 {
		t.Errorf("without a helper: %v, %v, %+v, %v", derr, serr, found, err)
	}
	l, deaf := servetest.Listen(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dead := netcall.New(deaf, model.NewInstanceID())
	if err := dead.Detach(t.Context(), id); !errors.Is(err, model.ErrUnavailable) {
		t.Errorf("detach by a dead helper: %v", err)
	}
	if err := dead.Sweep(t.Context(), nil); !errors.Is(err, model.ErrUnavailable) {
		t.Errorf("sweep by a dead helper: %v", err)
	}
	if got := dead.Problem(); !strings.Contains(got, "sudo banger system restart") {
		t.Errorf("of a dead helper: %q", got)
	}
}

// TestWithoutAHelperWhatIsThereIsSeen has a port that is there although the helper is gone.
func TestWithoutAHelperWhatIsThereIsSeen(t *testing.T) {
	t.Parallel()
	needNetwork(t)
	id := model.NewVMID()
	instance := model.NewInstanceID()
	own := hostnet.New(hostnet.Options{Instance: instance, UID: os.Geteuid()})
	port, err := own.Attach(t.Context(), id, 1, hostnet.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Sweep(context.Background(), nil); err != nil {
			t.Error(err)
		}
	})
	c := netcall.New(filepath.Join(t.TempDir(), "absent"), instance)
	found, err := c.List(t.Context())
	if err != nil || len(found.Ports) != 1 || found.Ports[0].ID != id || found.Ports[0].Tap != port.Tap {
		t.Errorf("found %+v, %v", found, err)
	}
	for what, err := range map[string]error{"detach": c.Detach(t.Context(), id), "sweep": c.Sweep(t.Context(), nil)} {
		if !errors.Is(err, model.ErrUnsupported) || !strings.HasSuffix(err.Error(), "run: sudo banger system install") {
			t.Errorf("%s: %v", what, err)
		}
	}
	derr := c.Detach(t.Context(), model.NewVMID())
	if serr := c.Sweep(t.Context(), map[model.VMID]bool{id: true}); derr != nil || serr != nil {
		t.Errorf("of what is not there: %v, %v", derr, serr)
	}
}
