// Package dmsnaptest has a pretended host for the root disks of package dmsnap.
package dmsnaptest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"banger/internal/helper/storage"
	"banger/internal/model"
)

// Host implements dmsnap.Verbs with files in a directory, which outlive the process as a host's devices do: for each VM a
// loop device over the base, one over the changes and a node, which is a link to the changes. It is for tests.
type Host struct {
	dir string
	// Lost, when it is not nil, says whether the kernel has given a VM's snapshot up.
	Lost func(id model.VMID) bool

	mu sync.Mutex
}

// New returns a host whose devices are in dir.
func New(dir string) *Host { return &Host{dir: dir} }

// The parts of a snapshot, in the order in which they are made.
var parts = []string{"base", "cow", "node"}

func (h *Host) path(id model.VMID, part string) string {
	return filepath.Join(h.dir, string(id)+"."+part)
}

// Problem implements dmsnap.Verbs: there is none.
func (*Host) Problem() string { return "" }

// Attach implements dmsnap.Verbs. It is as exact about the descriptors as the real one.
func (h *Host) Attach(ctx context.Context, id model.VMID, base, cow *os.File) (storage.Snapshot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := errors.Join(ctx.Err(), os.MkdirAll(h.dir, 0o700)); err != nil {
		return storage.Snapshot{}, err
	}
	if _, err := base.Write([]byte{0}); err == nil {
		return storage.Snapshot{}, errors.New("the base is open for writing")
	}
	info, err := cow.Stat()
	below, berr := base.Stat()
	if err := errors.Join(err, berr); err != nil {
		return storage.Snapshot{}, err
	}
	if info.Size() < storage.COWBytes(below.Size()) {
		return storage.Snapshot{}, fmt.Errorf("%d bytes of changes to %d can overflow", info.Size(), below.Size())
	}
	if err := h.snapshot(id).Err(); err != nil {
		return storage.Snapshot{}, err
	}
	belowPath, err := pathOf(base)
	abovePath, aerr := pathOf(cow)
	if err := errors.Join(err, aerr); err != nil {
		return storage.Snapshot{}, err
	}
	for part, target := range map[string]string{"base": belowPath, "cow": abovePath, "node": abovePath} {
		path := h.path(id, part)
		if is, err := os.Readlink(path); err == nil && is == target {
			continue
		}
		_ = os.Remove(path) // one over another file, if any
		if err := os.Symlink(target, path); err != nil {
			return storage.Snapshot{}, err
		}
	}
	return h.snapshot(id), nil
}

// pathOf is a file's, whoever opened it and handed it over.
func pathOf(f *os.File) (string, error) { return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd())) }

func (h *Host) snapshot(id model.VMID) storage.Snapshot {
	lost := ""
	if h.Lost != nil && h.Lost(id) {
		lost = "Invalid"
	}
	return storage.Snapshot{
		Lost: lost, ID: id, BaseLoop: h.path(id, "base"), COWLoop: h.path(id, "cow"), Name: "banger-" + string(id), Dev: "254:0", Node: h.path(id, "node"),
	}
}

// Detach implements dmsnap.Verbs.
func (h *Host) Detach(_ context.Context, id model.VMID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, part := range parts {
		if err := os.Remove(h.path(id, part)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// List implements dmsnap.Verbs.
func (h *Host) List(context.Context) ([]storage.Snapshot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []storage.Snapshot
	seen := map[model.VMID]bool{}
	for _, name := range h.names() {
		name, _, _ := strings.Cut(name, ".")
		if id := model.VMID(name); id.Valid() && !seen[id] {
			seen[id] = true
			found = append(found, h.snapshot(id))
		}
	}
	return found, nil
}

func (h *Host) names() []string {
	entries, _ := os.ReadDir(h.dir) // not there before the first
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// String prints the host's devices, one a line.
func (h *Host) String() string { return strings.Join(h.names(), "\n") }
