package netcall_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/hostnet"
	"banger/internal/helper/netcall"
	"banger/internal/helper/serve"
	"banger/internal/helper/serve/servetest"
	"banger/internal/model"
)

// guarded is the real host. What gets to it and is not refused there is an effect.
type guarded struct {
	netcall.Host
	effects *atomic.Int64
}

func (g guarded) note(err error) error {
	if !errors.Is(err, model.ErrInvalid) && !errors.Is(err, model.ErrUnsupported) && !errors.Is(err, model.ErrNotFound) {
		g.effects.Add(1)
	}
	return err
}

func (g guarded) Attach(ctx context.Context, id model.VMID, slot int, want hostnet.Rules) (hostnet.Port, error) {
	p, err := g.Host.Attach(ctx, id, slot, want)
	return p, g.note(err)
}

func (g guarded) PinAddresses(ctx context.Context, id model.VMID, slot int, p hostnet.Pin) error {
	return g.note(g.Host.PinAddresses(ctx, id, slot, p))
}

func (g guarded) Open(ctx context.Context, id model.VMID) (*os.File, error) {
	f, err := g.Host.Open(ctx, id)
	return f, g.note(err)
}

func (g guarded) Detach(ctx context.Context, id model.VMID) error {
	return g.note(g.Host.Detach(ctx, id))
}

func (g guarded) Sweep(ctx context.Context, keep map[model.VMID]bool) error {
	return g.note(g.Host.Sweep(ctx, keep))
}

func (g guarded) Recycle(ctx context.Context) error { return g.note(g.Host.Recycle(ctx)) }

func (g guarded) Prepare(ctx context.Context) error { return g.note(g.Host.Prepare(ctx)) }

const someVM = "bbbbbbbbbbbbbbbb"

func asking(t *testing.T, request proto.Message, change ...func(*helperv1.Call)) []byte {
	t.Helper()
	c := &helperv1.Call{Instance: string(instance), Verb: serve.Name(request), Request: servetest.Encode(t, request)}
	for _, f := range change {
		f(c)
	}
	return servetest.Encode(t, c)
}

// malformed are messages that are torn, huge or not known.
func malformed(t *testing.T) []servetest.Call {
	fair := &helperv1.DetachPortRequest{Vm: someVM}
	whole := asking(t, fair)
	changed := func(f func(*helperv1.Call)) []byte { return asking(t, fair, f) }
	calls := []servetest.Call{
		servetest.Hostile("zeros", make([]byte, 512), nil, model.ErrInvalid),
		servetest.Hostile("a length without end", bytes.Repeat([]byte{0xff}, 64), nil, model.ErrInvalid),
		servetest.Hostile("a huge one", bytes.Repeat(whole, 150<<10/len(whole)), nil, model.ErrInvalid),
		servetest.Hostile("a field too many", protowire.AppendString(protowire.AppendTag(asking(t, fair), 9, protowire.BytesType), "x"), nil, model.ErrInvalid),
		servetest.Hostile("a verb of the other service", changed(func(c *helperv1.Call) { c.Verb = "helper.v1.DetachRequest" }), nil, model.ErrUnsupported),
		servetest.Hostile("a response for a verb", changed(func(c *helperv1.Call) { c.Verb = "helper.v1.DetachPortResponse" }), nil, model.ErrUnsupported),
		servetest.Hostile("a verb and more", changed(func(c *helperv1.Call) { c.Verb += "\x00" }), nil, model.ErrUnsupported),
		servetest.Hostile("a request that is none", changed(func(c *helperv1.Call) { c.Request = []byte{0xff, 0xff} }), nil, model.ErrInvalid),
		servetest.Hostile("a request of another verb", changed(func(c *helperv1.Call) {
			c.Verb = serve.Name(&helperv1.SweepPortsRequest{})
			c.Request = []byte{0x10, 1}
		}), nil, model.ErrInvalid),
		servetest.Hostile("a request with a field too many", changed(func(c *helperv1.Call) {
			c.Request = protowire.AppendVarint(protowire.AppendTag(c.GetRequest(), 2, protowire.VarintType), 1)
		}), nil, model.ErrInvalid),
		servetest.Hostile("a policy that is not UTF-8", changed(func(c *helperv1.Call) {
			c.Verb = serve.Name(&helperv1.AttachPortRequest{})
			c.Request = protowire.AppendBytes(protowire.AppendTag(c.GetRequest(), 3, protowire.BytesType), []byte{0xff, 0xfe})
		}), nil, model.ErrInvalid),
		servetest.Hostile("slots for what takes none", changed(func(c *helperv1.Call) {
			c.Verb = serve.Name(&helperv1.PreparePortsRequest{})
			c.Request = []byte{0x08, 1}
		}), nil, model.ErrInvalid),
		servetest.Hostile("a VM for what takes none", changed(func(c *helperv1.Call) { c.Verb = serve.Name(&helperv1.RecyclePortsRequest{}) }), nil, model.ErrInvalid),
		servetest.Hostile("a descriptor for what takes none", asking(t, fair, func(c *helperv1.Call) { c.Descriptors = 1 }), []*os.File{os.Stdin}, model.ErrInvalid),
		servetest.Hostile("a descriptor for what hands one over", asking(t, &helperv1.OpenTapRequest{Vm: someVM}, func(c *helperv1.Call) { c.Descriptors = 1 }), []*os.File{os.Stdin}, model.ErrInvalid),
		servetest.Hostile("a descriptor for what hands two over", asking(t, &helperv1.ListenNamesRequest{}, func(c *helperv1.Call) { c.Descriptors = 1 }), []*os.File{os.Stdin}, model.ErrInvalid),
		servetest.Hostile("a domain of the caller's", asking(t, &helperv1.TellResolvedRequest{}, func(c *helperv1.Call) {
			c.Request = protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "org")
		}), nil, model.ErrInvalid),
		servetest.Hostile("a descriptor that is not told of", asking(t, &helperv1.OpenTapRequest{Vm: someVM}), []*os.File{os.Stdin}, model.ErrInvalid),
	}
	for _, n := range []int{1, 5, 9, 11, len(whole) / 2, len(whole) - 1} {
		calls = append(calls, servetest.Hostile(fmt.Sprintf("torn after %d of %d bytes", n, len(whole)), whole[:n], nil, nil))
	}
	return calls
}

// misnamed are ids that are none, for every verb that takes one.
func misnamed(t *testing.T) []servetest.Call {
	var calls []servetest.Call
	for _, id := range []string{"", "..", "aaaaaaaaa", "AAAAAAAA", "../../..", "aaaaaaa\x00", "54321-aa", "aaaaaaa1", "bb_aaaaa"} {
		calls = append(calls, servetest.Hostile(fmt.Sprintf("the installation %q", id), asking(t, &helperv1.DetachPortRequest{Vm: someVM}, func(c *helperv1.Call) { c.Instance = id }), nil, model.ErrInvalid))
	}
	for _, id := range []string{"", "..", "eth0", "../../dev/net/tun", "bbbbbbbbbbbbbbbbb", "BBBBBBBBBBBBBBBB", "bbbbbbbbbbbbbbb\x00", "bbbbbbbbbbbbbb-1", strings.Repeat("b", 50<<10)} {
		for _, request := range []proto.Message{
			&helperv1.AttachPortRequest{Vm: id, Slot: 1, Policy: "none"}, &helperv1.OpenTapRequest{Vm: id}, &helperv1.DetachPortRequest{Vm: id}, &helperv1.ListDenialsRequest{Vm: id}, somePin(func(r *helperv1.PinAddressesRequest) { r.Vm = id }),
			&helperv1.SweepPortsRequest{Keep: []string{someVM, id}},
		} {
			calls = append(calls, servetest.Hostile(fmt.Sprintf("%s of the VM %.20q", request.ProtoReflect().Descriptor().Name(), id), asking(t, request), nil, model.ErrInvalid))
		}
	}
	return calls
}

// misruled are ports that no VM may have.
func misruled(t *testing.T) []servetest.Call {
	attach := func(slot uint32, policy string, redirects ...*helperv1.Redirect) []byte {
		return asking(t, &helperv1.AttachPortRequest{Vm: someVM, Slot: slot, Policy: policy, Redirects: redirects})
	}
	var calls []servetest.Call
	for _, slot := range []uint32{0, hostnet.MaxSlot + 1, 1024, 65537, 1 << 31, 1<<32 - 1} {
		calls = append(calls, servetest.Hostile(fmt.Sprintf("slot %d", slot), attach(slot, "none"), nil, model.ErrUnsupported))
	}
	for text, kind := range map[string]error{
		"": model.ErrInvalid, " none": model.ErrInvalid, "open,none": model.ErrInvalid, "accept": model.ErrInvalid, "127.0.0.1:22": model.ErrInvalid,
		"10.0.0.0/8,10.0.0.0/8": model.ErrInvalid, "10.0.0.1/8": model.ErrInvalid, "::1": model.ErrInvalid, "10.0.0.1:0": model.ErrInvalid,
		"group:../x": model.ErrInvalid, "group:a b": model.ErrInvalid, "group:" + strings.Repeat("g", 300): model.ErrInvalid, "group:a}; drop": model.ErrInvalid,
		"public\n": model.ErrInvalid, strings.Repeat("10.0.0.1,", 5000) + "public": model.ErrInvalid, "Example.org": model.ErrInvalid,
		"*.*.example.org:443,public": model.ErrInvalid,
	} {
		calls = append(calls, servetest.Hostile(fmt.Sprintf("the policy %.30q", text), attach(1, text), nil, kind))
	}
	for _, r := range []*helperv1.Redirect{
		{}, {Port: 53}, {To: 5353}, {Port: 53, To: 22}, {Port: 53, To: 1023}, {Port: 65536, To: 5353}, {Port: 53, To: 65536}, {Port: 53, To: 1<<32 - 1}, {Port: 1<<16 | 53, To: 1<<16 | 5353},
	} {
		calls = append(calls, servetest.Hostile(fmt.Sprintf("port %d for %d", r.GetTo(), r.GetPort()), attach(1, "public", r), nil, model.ErrInvalid))
	}
	good := &helperv1.Redirect{Port: 53, To: 5353}
	calls = append(calls,
		servetest.Hostile("a port for two", attach(1, "public", good, &helperv1.Redirect{Port: 53, To: 5354}), nil, model.ErrInvalid),
		servetest.Hostile("ports for too many", attach(1, "public", slices.Repeat([]*helperv1.Redirect{good}, 1000)...), nil, model.ErrInvalid),
	)
	many := &helperv1.SweepPortsRequest{}
	for range 2*hostnet.MaxSlot + 1 {
		many.Keep = append(many.Keep, someVM)
	}
	return append(calls, servetest.Hostile("too many to keep", asking(t, many), nil, model.ErrInvalid))
}

// somePin would be fair, if the VM had such rules.
func somePin(change func(*helperv1.PinAddressesRequest)) *helperv1.PinAddressesRequest {
	r := &helperv1.PinAddressesRequest{Vm: someVM, Slot: 1, Entries: []string{"example.org:443"}, Addresses: [][]byte{{11, 0, 0, 2}}, Seconds: 60}
	change(r)
	return r
}

// mispinned are addresses that no name stands for, and names that no rule has.
func mispinned(t *testing.T) []servetest.Call {
	var calls []servetest.Call
	for _, c := range []struct {
		name   string
		kind   error
		change func(*helperv1.PinAddressesRequest)
	}{
		{"a pin of no rules", model.ErrNotFound, func(*helperv1.PinAddressesRequest) {}},
		{"a pin of slot 0", model.ErrUnsupported, func(r *helperv1.PinAddressesRequest) { r.Slot = 0 }},
		{"a pin of a slot without address", model.ErrUnsupported, func(r *helperv1.PinAddressesRequest) { r.Slot = 1 << 31 }},
		{"a pin of no name", model.ErrInvalid, func(r *helperv1.PinAddressesRequest) { r.Entries = nil }},
		{"a pin of no address", model.ErrInvalid, func(r *helperv1.PinAddressesRequest) { r.Addresses = nil }},
		{"a pin of public", model.ErrInvalid, func(r *helperv1.PinAddressesRequest) { r.Entries = []string{"public"} }},
		{"a pin of a range", model.ErrInvalid, func(r *helperv1.PinAddressesRequest) { r.Entries = []string{"10.0.0.0/8"} }},
		{"a pin of a group", model.ErrInvalid, func(r *helperv1.PinAddressesRequest) { r.Entries = []string{"group:a"} }},
		{"a pin of two names in one", model.ErrInvalid, func(r *helperv1.PinAddressesRequest) { r.Entries = []string{"a.org,b.org"} }},
		{"a pin of another spelling", model.ErrInvalid, func(r *helperv1.PinAddressesRequest) { r.Entries = []string{"example.org.:443"} }},
		{"a pin of a name that is none", model.ErrInvalid, func(r *helperv1.PinAddressesRequest) { r.Entries = []string{"a}; drop"} }},
		{"a pin of too many names", model.ErrInvalid, func(r *helperv1.PinAddressesRequest) { r.Entries = slices.Repeat([]string{"a.org"}, 257) }},
		{"a pin of too many addresses", model.ErrInvalid, func(r *helperv1.PinAddressesRequest) { r.Addresses = slices.Repeat([][]byte{{11, 0, 0, 2}}, 257) }},
		{"a pin of a moment", model.ErrInvalid, func(r *helperv1.PinAddressesRequest) { r.Seconds = 0 }},
		{"a pin of 59 seconds", model.ErrInvalid, func(r *helperv1.PinAddressesRequest) { r.Seconds = 59 }},
		{"a pin for ever", model.ErrInvalid, func(r *helperv1.PinAddressesRequest) { r.Seconds = 1<<32 - 1 }},
	} {
		calls = append(calls, servetest.Hostile(c.name, asking(t, somePin(c.change)), nil, c.kind))
	}
	for _, addr := range [][]byte{
		{}, {11}, {11, 0, 0, 2, 0}, net.IPv6loopback, net.IPv4(11, 0, 0, 2), {10, 0, 0, 1}, {127, 0, 0, 1}, {169, 254, 169, 254}, {192, 168, 0, 1}, {172, 16, 0, 1},
		{100, 64, 0, 1}, {168, 63, 129, 16}, {198, 18, 0, 1}, {198, 19, 255, 255}, {224, 0, 0, 1}, {255, 255, 255, 255}, {0, 0, 0, 0}, {192, 0, 0, 1},
	} {
		call := asking(t, somePin(func(r *helperv1.PinAddressesRequest) { r.Addresses = append(r.Addresses, addr) }))
		calls = append(calls, servetest.Hostile(fmt.Sprintf("a pin of the address %v", addr), call, nil, model.ErrInvalid))
	}
	return calls
}

// TestHostileCallsHaveNoEffect is not parallel: it counts descriptors, and what there is of networks.
func TestHostileCallsHaveNoEffect(t *testing.T) {
	needNetwork(t)
	var effects atomic.Int64
	socket := servetest.Here(t, service(func(c serve.Caller) netcall.Host { return guarded{user(c), &effects} }))
	calls := slices.Concat(malformed(t), misnamed(t), misruled(t), mispinned(t))
	calls = append(calls,
		servetest.Hostile("an empty message", nil, nil, nil),
		servetest.Hostile("the names of no bridge", asking(t, &helperv1.ListenNamesRequest{}), nil, model.ErrNotFound),
		servetest.Hostile("telling of no bridge", asking(t, &helperv1.TellResolvedRequest{}), nil, model.ErrNotFound),
		servetest.Hostile("the tap of a VM that has none", asking(t, &helperv1.OpenTapRequest{Vm: someVM}), nil, model.ErrNotFound),
	)
	servetest.HaveNoEffect(t, socket, &effects, hostListing, calls, asking(t, &helperv1.DetachPortRequest{Vm: someVM}))
}

// TestAnothersIDLeadsNowhere has networks of root's and of another user's, of the same installation's and VMs' ids, which
// the caller knows.
func TestAnothersIDLeadsNowhere(t *testing.T) {
	needNetwork(t)
	id := model.VMID(someVM)
	others := []*hostnet.Host{
		hostnet.New(hostnet.Options{Instance: instance}), hostnet.New(hostnet.Options{Instance: instance, UID: someUser + 1}),
	}
	for _, o := range others {
		if _, err := o.Attach(t.Context(), id, 1, policy(t, "public,group:a")); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, o := range others {
			if err := o.Sweep(context.Background(), nil); err != nil {
				t.Error(err)
			}
		}
	})
	before := hostListing(t)
	c := netcall.New(servetest.Here(t, service(user)), instance)
	if f, err := c.Open(t.Context(), id); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("another's tap: %v, %v", f, err)
	}
	nothingLeft(t, c)
	if derr, serr := c.Detach(t.Context(), id), c.Sweep(t.Context(), nil); derr != nil || serr != nil {
		t.Error(derr, serr)
	}
	if after := hostListing(t); after != before {
		t.Errorf("the host has\n%s\nand had\n%s", after, before)
	}
	own, err := c.Attach(t.Context(), id, 1, policy(t, "group:a"))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range others {
		found, err := o.List(t.Context())
		if err != nil || len(found.Ports) != 1 || found.Ports[0].Tap == own.Tap {
			t.Errorf("the other has %+v, %v, and the caller %+v", found, err, own)
		}
	}
	if err := c.Detach(t.Context(), id); err != nil {
		t.Error(err)
	}
	if after := hostListing(t); after != before {
		t.Errorf("the host has\n%s\nand had\n%s", after, before)
	}
}
