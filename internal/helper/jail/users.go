package jail

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"banger/internal/model"
)

func sorted(all map[model.VMID]*VM) []VM {
	found := make([]VM, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		found = append(found, *all[id])
	}
	return found
}

// Users are all ordinary users of this host. Root asks for their jails when it takes the helper away that made them.
type Users struct {
	Dir, Cgroups string // as in Options
}

// InUse counts the VMMs of ordinary users in jails.
func (u Users) InUse(ctx context.Context) (int, error) {
	count := 0
	return count, u.every(ctx, func(_ *Host, v VM) error {
		if v.PID != 0 {
			count++
		}
		return nil
	})
}

// Release removes the jails of ordinary users, and what was kept for the next ones, and ends the VMMs in them: nobody else
// could, afterwards.
func (u Users) Release(ctx context.Context) error {
	return errors.Join(u.every(ctx, func(h *Host, v VM) error { return h.Remove(ctx, v.ID) }), u.removeStocks())
}

// removeStocks removes what ordinary users keep for their VMMs. Root's own stays.
func (u Users) removeStocks() error {
	host := New(Options{Dir: u.Dir, Cgroups: u.Cgroups})
	entries, err := os.ReadDir(host.stocks())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if o, ok := installationOf(e.Name()); ok {
			errs = append(errs, New(Options{Instance: o.instance, UID: o.uid, Dir: u.Dir}).removeStock())
		}
	}
	return errors.Join(append(errs, removeEmpty(host.stocks()))...)
}

// every calls f for each jail of an ordinary user's, and joins the errors.
func (u Users) every(ctx context.Context, f func(*Host, VM) error) error {
	owners := map[owner]bool{}
	host := New(Options{Dir: u.Dir, Cgroups: u.Cgroups})
	for _, dir := range []string{host.o.Dir, host.parent()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if o, ok := userOf(e.Name()); ok {
				owners[o] = true
			}
		}
	}
	var errs []error
	for o := range owners {
		h := New(Options{Instance: o.instance, UID: o.uid, Dir: u.Dir, Cgroups: u.Cgroups})
		all, err := h.List(ctx)
		errs = append(errs, err)
		for _, v := range all {
			errs = append(errs, f(h, v))
		}
	}
	return errors.Join(errs...)
}

// owner is an ordinary user's installation.
type owner struct {
	instance model.InstanceID
	uid      int
}

// userOf is the installation that a jail of that name is of, if it is an ordinary user's.
func userOf(name string) (owner, bool) {
	at := strings.LastIndexByte(name, '-')
	if at < 0 || !model.VMID(name[at+1:]).Valid() {
		return owner{}, false
	}
	return installationOf(name[:at])
}

// installationOf is the ordinary user's installation that a name begins with.
func installationOf(name string) (owner, bool) {
	number, instance, _ := strings.Cut(name, "-")
	uid, err := strconv.ParseUint(number, 10, 32)
	if err != nil || uid == 0 || strconv.FormatUint(uid, 10) != number || !model.InstanceID(instance).Valid() {
		return owner{}, false
	}
	return owner{model.InstanceID(instance), int(uid)}, true
}
