package storage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// Foreign is a snapshot of an ordinary user's, of whichever installation.
type Foreign struct {
	Owner Options
	ID    model.VMID
	InUse bool // something has its device open: a VMM
}

// Users are all ordinary users of this host. Root asks for their snapshots when it takes the helper away that made them.
type Users struct{}

// Foreign lists what is there of ordinary users' snapshots.
func (Users) Foreign(ctx context.Context) ([]Foreign, error) {
	dm, err := openControl()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	used := map[string]bool{}
	var names []string
	if err == nil {
		defer dm.close()
		devices, err := dm.devices()
		if err != nil {
			return nil, err
		}
		for _, d := range devices {
			names, used[d.name] = append(names, d.name), d.open
		}
	}
	labels, err := labels()
	if err != nil {
		return nil, err
	}
	nodes, err := filepath.Glob("/dev/banger-*/*")
	if err != nil {
		return nil, err
	}
	for _, node := range nodes {
		labels = append(labels, filepath.Base(filepath.Dir(node))+"-"+filepath.Base(node))
	}
	owners := map[Options]bool{}
	for _, name := range append(names, labels...) {
		if o, ok := userOf(name); ok {
			owners[o] = true
		}
	}
	var found []Foreign
	for o := range owners {
		h := New(o)
		all, err := h.List(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			found = append(found, Foreign{Owner: o, ID: s.ID, InUse: s.Name != "" && used[s.Name]})
		}
	}
	return found, nil
}

// markLimit is for marking a device that is in use, so that it goes with its last close.
const markLimit = time.Second

// Release takes a snapshot away. A device that is in use goes when whoever has it open ends.
func (Users) Release(ctx context.Context, f Foreign) error {
	if f.InUse {
		short, cancel := context.WithTimeout(ctx, markLimit)
		defer cancel()
		if err := New(f.Owner).Detach(short, f.ID); !errors.Is(err, model.ErrTimeout) || ctx.Err() != nil {
			return err
		}
		return nil
	}
	return New(f.Owner).Detach(ctx, f.ID)
}

// userOf is the installation that a name or label is of, if it is an ordinary user's.
func userOf(name string) (Options, bool) {
	name, _, _ = strings.Cut(name, ".")
	parts := strings.Split(name, "-")
	if len(parts) != 4 || parts[0] != "banger" || !model.InstanceID(parts[2]).Valid() || !model.VMID(parts[3]).Valid() {
		return Options{}, false
	}
	uid, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil || uid == 0 || strconv.FormatUint(uid, 10) != parts[1] {
		return Options{}, false
	}
	return Options{Instance: model.InstanceID(parts[2]), UID: int(uid)}, true
}

// labels are what all loop devices say of themselves.
func labels() ([]string, error) {
	bound, err := filepath.Glob("/sys/block/loop*/loop")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, dir := range bound {
		device, err := os.Open("/dev/" + filepath.Base(filepath.Dir(dir)))
		if ended(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
		_ = device.Close()
		if ended(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, unix.ByteSliceToString(info.File_name[:]))
	}
	return all, nil
}
