package store

import (
	"context"
	"slices"
	"sync"

	"banger/internal/model"
)

// snapshot remembers what the last read of all VMs gave, until the next write: a list of a thousand VMs costs
// milliseconds to read out of SQLite, and this process is the only one that writes.
type snapshot struct {
	mu     sync.Mutex
	vms    []model.VM
	valid  bool
	writes uint64 // ended so far
}

// outdate is called after every write, also a failed one, and before its caller is answered.
func (c *snapshot) outdate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	c.vms, c.valid = nil, false
}

// get returns what is remembered, else what read gives. That is remembered only when no write ended since it began.
func (c *snapshot) get(read func() ([]model.VM, error)) ([]model.VM, error) {
	c.mu.Lock()
	if c.valid {
		defer c.mu.Unlock()
		return slices.Clone(c.vms), nil
	}
	before := c.writes
	c.mu.Unlock()
	vms, err := read()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writes == before {
		c.vms, c.valid = slices.Clone(vms), true
	}
	return vms, nil
}

// VMs returns all VMs as of one moment, oldest first. The caller may change the slice, not what its elements point to.
func (s *Store) VMs(ctx context.Context) ([]model.VM, error) {
	vms, err := s.snapshot.get(func() ([]model.VM, error) {
		vms, err := collect(ctx, s.db, scanVM, `SELECT `+vmColumns+` FROM vms`)
		if err != nil {
			return nil, err
		}
		slices.SortFunc(vms, byAge)
		return vms, fillWorkspaces(ctx, s.db, vms, "")
	})
	return vms, failed(err, "read the VMs")
}

func byAge(a, b model.VM) int {
	if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
		return c
	}
	return a.Slot - b.Slot
}
