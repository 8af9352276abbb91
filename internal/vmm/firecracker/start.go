package firecracker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"banger/internal/crash"
	"banger/internal/helper/jail"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/unixsocket"
	"banger/internal/vmm"
	"banger/internal/vmm/process"
)

// killTimeout bounds the wait for the end of a VMM that failed to start: only a process stuck in the kernel needs it.
const killTimeout = 10 * time.Second

// Start runs Firecracker for c. It returns when the guest runs, or with nothing left behind.
func (d *Driver) Start(ctx context.Context, c vmm.Config) (_ vmm.Machine, err error) {
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = model.Errorf(model.ErrCanceled, "cannot start the VM: %w", context.Cause(ctx))
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	features, binary := d.features(ctx)
	if features.Problem != "" {
		return nil, model.Errorf(model.ErrUnsupported, "cannot start the VM: %s", features.Problem)
	}
	jailed, err := d.jails(ctx, c)
	if err != nil {
		return nil, err
	}
	seen, at := c, ""
	if jailed {
		seen, at = inside(c), jail.Inside
	}
	requests, err := configure(seen, d.options.Console, at)
	if err != nil {
		return nil, err
	}
	if err := c.Readable(); err != nil {
		return nil, err
	}
	if err := d.Remove(ctx, c.ID, c.Dir, model.Handles{}); err != nil { // an earlier VMM's
		return nil, fmt.Errorf("cannot start the VM: %w", err)
	}
	var m *machine
	if jailed {
		binary = d.options.Jail.Program()
		m, err = d.runJailed(ctx, c, requests)
	} else {
		m, err = d.run(ctx, c, binary, requests)
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
		defer cancel()
		return nil, errors.Join(err, d.Remove(ctx, c.ID, c.Dir, model.Handles{}))
	}
	d.warnUnfiltered(m, binary, features.Version)
	return m.public(), nil
}

// run starts the process and tells it what to run. On failure no process is left, but files may be.
func (d *Driver) run(ctx context.Context, c vmm.Config, binary string, requests []request) (_ *machine, err error) {
	m := newMachine(c.Dir, d.options.Log.With("vm", string(c.ID)))
	// Before the process: its socket must not appear unseen.
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer watcher.Close()
		err = watcher.Add(c.Dir)
	}
	if err == nil {
		err = m.spawn(c, binary, d.options.Console)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start the VM: %w", err), m.Close())
	}
	if err = m.instruct(ctx, watcher, requests); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
		defer cancel()
		return nil, errors.Join(err, m.Kill(ctx), m.Close())
	}
	return m, nil
}

// spawn starts the process, which waits for instructions.
func (m *machine) spawn(c vmm.Config, binary string, console bool) error {
	output, ours, err := makeFIFO(filepath.Join(c.Dir, fifoLog), 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	m.log = process.NewTail(ours)
	if console {
		if err := m.openConsole(0o600); err != nil {
			return err
		}
	}
	child, coreErr, err := process.Start(process.Command{
		// Info is what its end is told at.
		Argv: []string{binary, "--api-sock", socketAPI, "--id", string(c.ID), "--level", "Info"},
		Dir:  c.Dir, Lock: c.Lock, Output: output, Errors: output,
		OwnNetwork: c.Link.Kind == network.LinkOwnTap,
	})
	if err != nil {
		return err
	}
	if coreErr != nil {
		m.Log().Warn("cannot forbid core dumps of Firecracker", "error", coreErr)
	}
	m.Born(child, m.heard(), m.why)
	return nil
}

// openConsole makes the FIFO of the console, and reads it.
func (m *machine) openConsole(mode os.FileMode) error {
	unused, ours, err := makeFIFO(filepath.Join(m.sockets, fifoConsole), mode)
	if err != nil {
		return err
	}
	// Until Firecracker has opened it by its name this keeps it from looking ended.
	m.consoleHold = unused
	m.con = process.NewConsole(ours)
	return nil
}

// instruct makes the calls of the API, of which the last one starts the guest.
func (m *machine) instruct(ctx context.Context, watcher *fsnotify.Watcher, requests []request) error {
	conn, err := m.reach(ctx, watcher)
	if err != nil {
		return err
	}
	defer conn.close()
	crash.At("firecracker.instruct.before")
	for _, r := range requests {
		if err := conn.put(ctx, r); err != nil {
			return m.explain(err)
		}
		crash.At("firecracker.instruct.told")
	}
	m.releaseConsole()
	return nil
}

// reach connects to the API once its socket is there.
func (m *machine) reach(ctx context.Context, watcher *fsnotify.Watcher) (*api, error) {
	for {
		conn, err := unixsocket.Dial(ctx, filepath.Join(m.sockets, socketAPI))
		if err == nil {
			return newAPI(conn), nil
		}
		// Between its making and its listening, which is no event, there are a few instructions.
		soon := make(<-chan time.Time)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			soon = time.After(time.Millisecond)
		case !errors.Is(err, os.ErrNotExist):
			return nil, model.Errorf(model.ErrUnavailable, "cannot start the VM: %w", err)
		}
		select {
		case <-watcher.Events:
		case err := <-watcher.Errors:
			return nil, fmt.Errorf("cannot wait for Firecracker: %w", err)
		case <-soon:
		case <-m.Ended():
			return nil, m.explain(errors.New("Firecracker ended"))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// explain makes err an error of a start. Of a VMM that died its last words say more.
func (m *machine) explain(err error) error {
	select {
	case <-m.Ended():
		m.releaseConsole() // if it had not opened it, nobody will
		<-m.Done()
		if words := lastWords(m.log.Text()); words != "" {
			return model.Errorf(kindOf(words), "cannot start the VM: Firecracker says: %s", words)
		}
	default:
	}
	return fmt.Errorf("cannot start the VM: %w", err)
}
