package hostnet

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/model"
)

// Pin has a VM reach the addresses that a name stands for, which is one of entries of its policy.
type Pin struct {
	Entries   []string // in the words of the policy
	Addresses []netip.Addr
	Life      time.Duration
}

const (
	mostPinEntries = 256
	// MostPinAddresses is how many addresses one Pin may have.
	MostPinAddresses = 256
)

// PinAddresses has the VM's rules let it reach what a name stands for: public addresses, to which the rules add their own
// doubt. One that is there already is there for that long from now on. Rules without such an entry are an ErrNotFound, and
// nothing is changed. It adds to sets that Attach made and changes nothing else, so it may be called beside every other verb,
// also by another process.
func (h *Host) PinAddresses(ctx context.Context, id model.VMID, slot int, p Pin) error {
	fail := func(err error) error {
		return model.HostErrorf(err, "cannot let %s reach what a name stands for", id)
	}
	entries, err := checkPin(slot, p)
	if err := errors.Join(h.check(id), err, ctx.Err()); err != nil {
		return fail(err)
	}
	r, err := h.newRules()
	if err != nil {
		return fail(err)
	}
	crash.At("hostnet.pin.before")
	if err := r.pin(id, slot, entries, p); err != nil {
		r.closeNow() // nothing was removed that it could wait for
		return fail(err)
	}
	r.close()
	crash.At("hostnet.pin.after")
	return nil
}

// checkPin refuses what no name may stand for.
func checkPin(slot int, p Pin) ([]model.PolicyEntry, error) {
	switch {
	case slot < 1 || slot > MaxSlot:
		return nil, model.Errorf(model.ErrUnsupported, "its number is %d, and a bridge has addresses for %d", slot, MaxSlot)
	case len(p.Entries) == 0 || len(p.Entries) > mostPinEntries || len(p.Addresses) == 0 || len(p.Addresses) > MostPinAddresses:
		return nil, model.Errorf(model.ErrInvalid, "%d entries and %d addresses are none, or too many", len(p.Entries), len(p.Addresses))
	case p.Life < model.MinPin || p.Life > model.MaxPin+model.PinGrace:
		return nil, model.Errorf(model.ErrInvalid, "no address is remembered for %s", p.Life)
	}
	var entries []model.PolicyEntry
	for _, text := range p.Entries {
		policy, err := model.ParsePolicy(text)
		if err != nil {
			return nil, err
		}
		if len(policy.Entries) != 1 || policy.Entries[0].Domain == "" || policy.String() != text {
			return nil, model.Errorf(model.ErrInvalid, "%.64q is no domain of a policy", text)
		}
		entries = append(entries, policy.Entries[0])
	}
	for _, addr := range p.Addresses {
		if !addr.Is4() || in4(addr, model.UnreachableRanges()) || in4(addr, model.PrivateRanges()) {
			return nil, model.Errorf(model.ErrInvalid, "%s is no address of the internet", addr)
		}
	}
	return entries, nil
}

func in4(addr netip.Addr, ranges []model.Range) bool {
	for _, r := range ranges {
		if r.Prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// pin adds the elements, in one transaction. The kernel does not change the life of one that is there: so each is added,
// which does nothing where it is there, removed, and added.
func (r *rules) pin(id model.VMID, slot int, entries []model.PolicyEntry, p Pin) error {
	var elements []nftables.SetElement
	for _, addr := range p.Addresses {
		elements = append(elements, nftables.SetElement{Key: addr.AsSlice(), Timeout: p.Life})
	}
	for _, e := range entries {
		set := r.pinnedSet(id, slot, e, 0)
		r.note(r.SetAddElements(set, elements))
		r.note(r.SetDeleteElements(set, elements))
		r.note(r.SetAddElements(set, elements))
	}
	if r.err != nil {
		return r.err
	}
	switch err := r.Flush(); {
	case errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOSPC): // after which it does not find what it did not take
		return model.Errorf(model.ErrUnavailable, "names of its policy stand for more addresses than are remembered")
	case errors.Is(err, unix.ENOENT):
		return model.Errorf(model.ErrNotFound, "its rules have no such entry")
	default:
		return err
	}
}
