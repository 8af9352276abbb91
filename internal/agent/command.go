package agent

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"banger/internal/model"
)

// command is one started command: its process, what is kept of its output, and who is attached to it.
type command struct {
	id    string
	table *table

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever something below changed that others wait for
	proc    Process       // nil when it could not be started
	stdout  output
	stderr  output
	stdin   input
	exit    *model.ExecStatus
	timeout bool // it ran out of time

	attached *attachment // nil when nobody is
	awaited  bool        // somebody is or will soon be attached: output waits for them
	released bool        // forgotten: output goes nowhere

	deadline *time.Timer // of the command
	patience *time.Timer // with nobody attached
}

// output is one of a command's outputs. It is guarded by its command's mu.
type output struct {
	ring  ring
	sent  int64 // offset up to which the attachment was given it
	ended bool
}

func newCommand(id string, t *table) *command {
	return &command{id: id, table: t, changed: make(chan struct{})}
}

// run starts the command's process. A command that cannot be started has ended, by docker's codes.
func (c *command) run(sys System, spec Command, timeout time.Duration) error {
	proc, err := sys.Start(spec)
	var refused *StartError
	if errors.As(err, &refused) {
		c.stdout.ended, c.stderr.ended = true, true
		c.finish(model.ExecStatus{Code: refused.Code, Message: refused.Message})
		return nil
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.proc = proc
	if timeout > 0 {
		c.deadline = time.AfterFunc(timeout, c.expire)
	}
	c.mu.Unlock()
	c.follow(proc)
	return nil
}

// follow moves the process's input and outputs until they end.
func (c *command) follow(proc Process) {
	readers := []Reader{proc.Stdout(), proc.Stderr()}
	stdin := proc.Stdin()
	c.mu.Lock()
	c.stdin.open = stdin != nil
	c.stdout.ended, c.stderr.ended = readers[0] == nil, readers[1] == nil
	c.mu.Unlock()

	var pumps sync.WaitGroup
	for i, o := range []*output{&c.stdout, &c.stderr} {
		if readers[i] != nil {
			pumps.Go(func() { c.pump(o, readers[i]) })
		}
	}
	if stdin != nil {
		go c.feed(stdin)
	}
	go func() {
		exit := proc.Wait()
		for _, r := range readers {
			if r != nil {
				r.SetReadDeadline(time.Now().Add(orphanGrace))
			}
		}
		c.finish(statusOf(exit))
		if stdin != nil && readers[1] != nil {
			stdin.Close() // wakes a blocked write; a terminal's input is closed with its output
		}
		pumps.Wait()
		proc.Close()
	}()
}

func statusOf(e Exit) model.ExecStatus {
	if e.Signal != 0 {
		return model.ExecStatus{Code: 128 + e.Signal, Signal: e.Signal}
	}
	return model.ExecStatus{Code: e.Code}
}

// finish records the end of the process.
func (c *command) finish(status model.ExecStatus) {
	c.mu.Lock()
	if c.deadline != nil {
		c.deadline.Stop()
	}
	if c.timeout {
		status.Code, status.TimedOut = 124, true
	}
	c.exit = &status
	c.stdin.end()
	uncollected := c.attached == nil
	if uncollected {
		c.wait(collectWithin, func() { c.table.forget(c) })
	}
	c.notify()
	c.mu.Unlock()
	if uncollected {
		c.table.end(c)
	}
}

// expire ends a command that ran out of time: TERM for its whole group, then KILL.
func (c *command) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exit != nil {
		return
	}
	c.timeout = true
	_ = c.proc.SignalAll(int(syscall.SIGTERM))
	c.deadline = time.AfterFunc(killAfter, c.kill)
}

// abandon ends a command whose attachment did not come back: HUP for its whole group, then KILL.
func (c *command) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attached != nil || c.exit != nil {
		return
	}
	c.awaited = false
	c.notify()
	_ = c.proc.SignalAll(int(syscall.SIGHUP))
	c.wait(hangupAfter, c.kill)
}

func (c *command) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exit == nil {
		_ = c.proc.SignalAll(int(syscall.SIGKILL))
	}
}

// wait has what done once that time has passed, in place of what was waited for before. The caller holds mu.
func (c *command) wait(d time.Duration, what func()) {
	if c.patience != nil {
		c.patience.Stop()
	}
	c.patience = time.AfterFunc(d, what)
}

// release lets go of what was kept: the command is forgotten.
func (c *command) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.patience != nil {
		c.patience.Stop()
	}
	c.released, c.awaited = true, false
	if c.attached != nil {
		close(c.attached.replaced)
		c.attached = nil
	}
	c.stdout.ring, c.stderr.ring = ring{}, ring{}
	c.notify()
}

// notify wakes all who wait for a change. The caller holds mu.
func (c *command) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits for the next change. The caller holds mu, and holds it again afterwards.
func (c *command) await() {
	changed := c.changed
	c.mu.Unlock()
	<-changed
	c.mu.Lock()
}
