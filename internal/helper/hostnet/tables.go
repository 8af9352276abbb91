package hostnet

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// tables are what an installation's hold now.
type tables struct {
	names  []string // "bridge NAME", "ip NAME"
	family []*nftables.Table
	chains []chain
	sets   []set
	notes  []*nftables.Chain // that what all VMs share is there: see Host.note
}

// chain is one of a VM.
type chain struct {
	*nftables.Chain
	id   model.VMID
	slot int
}

// set is one of groups, a map, or one VM's own, whose elements are not read.
type set struct {
	*nftables.Set
	elements []nftables.SetElement
}

// look reads the tables, once for all the time until they are changed.
func (r *rules) look() (tables, error) {
	if r.seen == nil {
		t, err := r.settled(r.read)
		if err != nil {
			return t, err
		}
		r.seen = &t
	}
	return *r.seen, nil
}

func (r *rules) read() (t tables, err error) {
	for _, own := range []*nftables.Table{r.frames, r.ip} {
		all, err := tablesOf(r.Conn, own.Family)
		if err != nil {
			return t, err
		}
		if !slices.ContainsFunc(all, func(o *nftables.Table) bool { return o.Name == own.Name }) {
			continue
		}
		kind := "ip "
		if own == r.frames {
			kind = "bridge "
		}
		t.names, t.family = append(t.names, kind+own.Name), append(t.family, own)
		chains, err := chainsOf(r.Conn, own.Family)
		if err != nil {
			return t, err
		}
		for _, c := range chains {
			if c.Table.Name != own.Name {
				continue
			}
			if id, slot, ok := ownerOfChain(c.Name); ok {
				t.chains = append(t.chains, chain{&nftables.Chain{Name: c.Name, Table: own}, id, slot})
			} else if isNote(c.Name) {
				t.notes = append(t.notes, &nftables.Chain{Name: c.Name, Table: own})
			}
		}
		sets, err := r.GetSets(own)
		if err != nil {
			return t, err
		}
		for _, s := range sets {
			if _, _, own := ownerOfChain(s.Name); own { // of what it was refused, or what names stand for
				t.sets = append(t.sets, set{s, nil})
				continue
			}
			elements, err := elementsOf(r.Conn, s)
			if err != nil {
				return t, err
			}
			t.sets = append(t.sets, set{s, elements})
		}
	}
	return t, nil
}

// tablesOf lists the tables of a family. A kernel without nftables has none.
func tablesOf(conn *nftables.Conn, family nftables.TableFamily) ([]*nftables.Table, error) {
	all, err := once(func() ([]*nftables.Table, error) { return conn.ListTablesOfFamily(family) }, func(t *nftables.Table) string { return t.Name })
	if noRules(err) {
		return nil, nil
	}
	return all, err
}

// chainsOf lists the chains of all tables of a family, or of any.
func chainsOf(conn *nftables.Conn, family nftables.TableFamily) ([]*nftables.Chain, error) {
	return once(func() ([]*nftables.Chain, error) { return conn.ListChainsOfTableFamily(family) }, func(c *nftables.Chain) place {
		return place{c.Table.Family, c.Table.Name, c.Name}
	})
}

// elementsOf lists what is in a set.
func elementsOf(conn *nftables.Conn, s *nftables.Set) ([]nftables.SetElement, error) {
	return once(func() ([]nftables.SetElement, error) { return conn.GetSetElements(s) }, func(e nftables.SetElement) string { return string(e.Key) })
}

// noRules says whether an error is that of a kernel without nftables.
func noRules(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL)
}

// shared says whether what all VMs share is there, as this program makes it, so that it need not be made again.
func (t tables) shared(note string) bool {
	return len(t.family) == 2 && slices.ContainsFunc(t.notes, func(c *nftables.Chain) bool { return c.Name == note })
}

// grouped says whether there is any group.
func (t tables) grouped() bool {
	return slices.ContainsFunc(t.sets, func(s set) bool { return isGroup(s.Name) })
}

// slots are those that a VM has chains by.
func (t tables) slots(id model.VMID) []int {
	var slots []int
	for _, c := range t.chains {
		if c.id == id && !slices.Contains(slots, c.slot) {
			slots = append(slots, c.slot)
		}
	}
	return slots
}

// removeAll takes the tables away.
func (r *rules) removeAll(t tables) {
	for _, own := range t.family {
		r.DelTable(own)
	}
}

// forget takes away what leads to a VM's chains, and the chains.
func (r *rules) forget(t tables, id model.VMID, slot int, part netip.Prefix) {
	for _, s := range t.sets {
		r.withdraw(s, r.h.keyOf(s, slot, part))
	}
	own := slices.DeleteFunc(slices.Clone(t.chains), func(c chain) bool { return c.id != id || c.slot != slot })
	for _, c := range own { // which lead to each other
		r.FlushChain(c.Chain)
	}
	for _, c := range own {
		r.DelChain(c.Chain)
	}
	for _, s := range t.sets {
		if of, at, ok := ownerOfChain(s.Name); ok && of == id && at == slot {
			r.DelSet(s.Set)
		}
	}
}

// narrow takes a VM's address out of the sets and maps that its new rules do not have it in.
func (r *rules) narrow(t tables, slot int, part netip.Prefix, want Rules) {
	groups := want.Policy.Groups()
	for _, s := range t.sets {
		group, is := strings.CutPrefix(s.Name, groupPrefix)
		if is && !slices.Contains(groups, group) || s.Name == mapRedirects {
			r.withdraw(s, r.h.keyOf(s, slot, part))
		}
	}
}

// keyOf is what stands for a slot in a set, at the beginning of each key: its tap or its address.
func (h *Host) keyOf(s set, slot int, part netip.Prefix) []byte {
	if s.Name == mapPorts {
		return ifname(h.tap(slot))
	}
	return addressIn(part, slot).AsSlice()
}

// withdraw takes what begins with a key out of a set, which goes when it is a group's and had nobody else. Its chains go before.
func (r *rules) withdraw(s set, key []byte) {
	for _, e := range s.elements {
		if bytes.HasPrefix(e.Key, key) {
			r.note(r.SetDeleteElements(s.Set, []nftables.SetElement{{Key: e.Key}}))
		}
	}
}
