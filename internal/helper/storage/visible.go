package storage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"banger/internal/model"
)

// Visible lists the mapped devices of this installation as anybody can see them, in no more detail than that.
func (h *Host) Visible() ([]Snapshot, error) {
	// The directory dm is there for mapped devices alone.
	dirs, err := filepath.Glob("/sys/block/dm-*/dm")
	if err != nil {
		return nil, err
	}
	var found []Snapshot
	for _, dir := range dirs {
		name, err := readLine(filepath.Join(dir, "name"))
		dev, derr := readLine(filepath.Join(filepath.Dir(dir), "dev"))
		switch err := errors.Join(err, derr); {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.EINVAL):
			continue // it has just ended; of one that is about to, the kernel tells nothing any more
		case err != nil:
			return nil, err
		}
		if id, ours := h.ownerOfName(name); ours {
			found = append(found, Snapshot{ID: id, Name: name, Dev: dev})
		}
	}
	slices.SortFunc(found, func(a, b Snapshot) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return found, nil
}

func readLine(path string) (string, error) {
	data, err := os.ReadFile(path)
	return strings.TrimSpace(string(data)), err
}

// Gone returns nil once the VM has no mapped device, which it looks at as anybody can. It waits for one that is about to
// end with its VMM, and no longer.
func (h *Host) Gone(ctx context.Context, id model.VMID) error {
	if err := h.check(id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	events, err := listen()
	if err != nil {
		return err
	}
	defer events.close()
	return events.until(ctx, "the device "+h.name(id)+" is still there", func() (bool, error) {
		there, err := h.Visible()
		return !slices.ContainsFunc(there, func(s Snapshot) bool { return s.ID == id }), err
	})
}
