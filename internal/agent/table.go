package agent

import (
	"slices"
	"sync"
	"time"

	"banger/internal/model"
)

const (
	maxLive  = 4096 // commands at once
	maxEnded = 256  // commands that ended and were not collected; beyond it the oldest are forgotten
	maxID    = 128  // bytes of a command's id

	// hangupAfter is how long a command whose attachment broke is left alone before SIGHUP, and then before SIGKILL.
	hangupAfter = 10 * time.Second
	// killAfter is how long a command that timed out has after SIGTERM.
	killAfter = 10 * time.Second
	// collectWithin is how long the end of a command that nobody is attached to is remembered.
	collectWithin = 10 * time.Minute
)

// table is all commands by the ids that the host gave them.
type table struct {
	mu       sync.Mutex
	commands map[string]*command
	ended    []*command // in the order of their ends
}

func newTable() *table { return &table{commands: map[string]*command{}} }

// reserve takes the id for c. ErrExists for an id in use, ErrNoSpace for a full table.
func (t *table) reserve(c *command) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case c.id == "" || len(c.id) > maxID:
		return model.Errorf(model.ErrInvalid, "a command's id has between 1 and %d characters", maxID)
	case t.commands[c.id] != nil:
		return model.Errorf(model.ErrExists, "a command %s exists", c.id)
	case len(t.commands)-len(t.ended) >= maxLive:
		return model.Errorf(model.ErrNoSpace, "%d commands run at once already", maxLive)
	}
	t.commands[c.id] = c
	return nil
}

// busy says whether a command runs.
func (t *table) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.commands) > len(t.ended)
}

func (t *table) get(id string) (*command, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.commands[id]; c != nil {
		return c, nil
	}
	return nil, model.Errorf(model.ErrNotFound, "no command %s: it was collected, or never started", id)
}

// end notes that c has ended with nobody attached, and forgets the oldest such command when there are too many.
func (t *table) end(c *command) {
	t.mu.Lock()
	if t.commands[c.id] != c || slices.Contains(t.ended, c) {
		t.mu.Unlock()
		return
	}
	t.ended = append(t.ended, c)
	var oldest *command
	if len(t.ended) > maxEnded {
		oldest = t.ended[0]
	}
	t.mu.Unlock()
	if oldest != nil {
		t.forget(oldest)
	}
}

// resume notes that somebody is attached to c again.
func (t *table) resume(c *command) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = slices.DeleteFunc(t.ended, func(e *command) bool { return e == c })
}

// forget drops c and what it kept; twice is fine.
func (t *table) forget(c *command) {
	t.mu.Lock()
	if t.commands[c.id] == c {
		delete(t.commands, c.id)
	}
	t.ended = slices.DeleteFunc(t.ended, func(e *command) bool { return e == c })
	t.mu.Unlock()
	c.release()
}
