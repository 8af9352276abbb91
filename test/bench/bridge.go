package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"

	"banger/internal/helper/hostnet"
	"banger/internal/model"
)

const bridgeArgument = "bridge"

// attachAndDetach writes, as JSON, what VMs took that came and went while another stayed. It is root of a network
// namespace of its own, which ends with it.
func attachAndDetach(args []string) error {
	times, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	ctx := context.Background()
	h := hostnet.New(hostnet.Options{Instance: model.NewInstanceID()})
	policy, err := model.ParsePolicy("public")
	if err != nil {
		return err
	}
	attach := func(id model.VMID, slot int, wire bool) error {
		_, err := h.Attach(ctx, id, slot, hostnet.Rules{Policy: policy, Wire: wire})
		return err
	}
	if err := errors.Join(attach(model.NewVMID(), 1, false), h.Prepare(ctx)); err != nil {
		return err
	}
	bare, err := newBareTap()
	if err != nil {
		return err
	}
	var all []bridgeTimes
	for i := range times {
		var b bridgeTimes
		id := model.NewVMID()
		err := inTurn(i,
			clocked(&b.AttachFloor, bare.up),
			clocked(&b.Attach, func() error { return attach(id, 2, false) }))
		if err != nil {
			return err
		}
		if err := clocked(&b.Prepare, func() error { return h.Prepare(ctx) })(); err != nil {
			return err
		}
		err = inTurn(i,
			clocked(&b.DetachFloor, bare.down),
			clocked(&b.Detach, func() error { return h.Detach(ctx, id) }))
		if err != nil {
			return err
		}
		if err := clocked(&b.Recycle, func() error { return h.Recycle(ctx) })(); err != nil {
			return err
		}
		err = inTurn(i,
			clocked(&b.WireFloor, bare.wired),
			clocked(&b.Wire, func() error { return attach(id, 2, true) }))
		if err := errors.Join(err, bare.unwired(), h.Detach(ctx, id), h.Recycle(ctx)); err != nil {
			return err
		}
		all = append(all, b)
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

func clocked(into *time.Duration, do func() error) func() error {
	return func() error {
		begun := time.Now()
		err := do()
		*into = time.Since(begun)
		return err
	}
}

// bareTap is the least that a network of a VM's takes: a tap that is there, and a chain of one rule.
type bareTap struct {
	links *netlink.Handle
	tap   netlink.Link
	rules *nftables.Conn
	chain *nftables.Chain
}

// bareWire is the pair that a jail's network begins with.
const bareWire = "floor-wire"

func newBareTap() (*bareTap, error) {
	links, err := netlink.NewHandle()
	if err != nil {
		return nil, err
	}
	rules, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "floor"
	tap := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP}
	if err := links.LinkAdd(tap); err != nil {
		return nil, fmt.Errorf("cannot make a tap: %w", err)
	}
	table := rules.AddTable(&nftables.Table{Name: "floor", Family: nftables.TableFamilyIPv4})
	return &bareTap{links, tap, rules, &nftables.Chain{Name: "floor", Table: table}}, rules.Flush()
}

func (b *bareTap) up() error { return errors.Join(b.rule(), b.links.LinkSetUp(b.tap)) }

func (b *bareTap) down() error { return errors.Join(b.links.LinkSetDown(b.tap), b.noRule()) }

// wired does it with a pair that is made for it.
func (b *bareTap) wired() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bareWire
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: bareWire + "-end"}
	return errors.Join(b.rule(), b.links.LinkAdd(pair), b.links.LinkSetUp(pair))
}

func (b *bareTap) unwired() error {
	pair, err := b.links.LinkByName(bareWire)
	if err != nil {
		return err
	}
	return errors.Join(b.links.LinkDel(pair), b.noRule())
}

func (b *bareTap) rule() error {
	b.rules.AddRule(&nftables.Rule{Table: b.chain.Table, Chain: b.rules.AddChain(b.chain), Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}})
	return b.rules.Flush()
}

func (b *bareTap) noRule() error {
	b.rules.FlushChain(b.chain)
	b.rules.DelChain(b.chain)
	return b.rules.Flush()
}
