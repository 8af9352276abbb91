package hostnet

import (
	"context"
	"errors"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// Users are all ordinary users of this host. Root asks for their networks when it takes the helper away that made them.
type Users struct{}

// InUse is how many ports of ordinary users' have a VMM.
func (Users) InUse(ctx context.Context) (int, error) {
	links, err := handle(ctx)
	if err != nil {
		return 0, err
	}
	defer links.Close()
	found, err := usersLinks(links)
	if err != nil {
		return 0, err
	}
	used := 0
	for _, l := range found {
		if inUse(l) {
			used++
		}
	}
	return used, nil
}

func inUse(l netlink.Link) bool {
	return isPort(l) && l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
}

// Release takes away all that is there of ordinary users' networks. A guest whose VMM has a tap has no network from then
// on, and the tap goes with the VMM. Every step runs, whatever the others did.
func (Users) Release(ctx context.Context) error {
	links, err := handle(ctx)
	if err != nil {
		return err
	}
	defer links.Close()
	tables, err := usersTables()
	if err != nil {
		return err
	}
	found, err := usersLinks(links)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range found {
		if isLeft(l) { // in the way of the names of those that are left next
			errs = append(errs, unplug(links, l))
		}
	}
	for _, l := range found {
		if inUse(l) && !isWire(l) {
			errs = append(errs, leave(links, l))
		}
	}
	for _, o := range tables {
		errs = append(errs, New(o).Sweep(ctx, nil))
	}
	// What had no rules yet says only of whom it is.
	found, err = usersLinks(links)
	errs = append(errs, err)
	for _, l := range found {
		if isPort(l) {
			errs = append(errs, unplug(links, l))
		}
	}
	for _, l := range found {
		if l.Type() == "bridge" {
			errs = append(errs, removeBridge(links, l))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return model.HostErrorf(err, "cannot take away the networks of banger's helper")
	}
	return nil
}

func handle(ctx context.Context) (*netlink.Handle, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return netlink.NewHandle(unix.NETLINK_ROUTE)
}

// isLeft says whether a tap, or a wire, was taken from its VM, and waits to be removed.
func isLeft(l netlink.Link) bool {
	_, left := userOf(l.Attrs().Name, leftPrefix, slotLength)
	return isPort(l) && left && stays(l)
}

// usersLinks are the bridges, taps and wires that bear the mark of an ordinary user, but those taps that go by themselves.
func usersLinks(links *netlink.Handle) ([]netlink.Link, error) {
	all, err := whole(links.LinkList)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(l netlink.Link) bool {
		name := l.Attrs().Name
		_, bridge := userOf(name, bridgePrefix, 0)
		_, tap := userOf(name, tapPrefix, slotLength)
		return (!bridge || l.Type() != "bridge") && (!tap || !isPort(l)) && !isLeft(l)
	}), nil
}

// usersTables are the installations of ordinary users' that have tables.
func usersTables() ([]Options, error) {
	rules, err := nftables.New()
	if err != nil {
		return nil, err
	}
	var found []Options
	for _, family := range []nftables.TableFamily{nftables.TableFamilyBridge, nftables.TableFamilyIPv4} {
		all, err := tablesOf(rules, family)
		if err != nil {
			return nil, err
		}
		for _, t := range all {
			if o, ok := userOfTable(t.Name); ok && !slices.Contains(found, o) {
				found = append(found, o)
			}
		}
	}
	return found, nil
}
