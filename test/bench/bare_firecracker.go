package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"banger/internal/helper/storage"
	"banger/internal/model"
	"banger/internal/unixsocket"
)

// The files by which Firecracker is reached, as banger calls them.
const (
	apiSocket   = "firecracker.api"
	consoleFIFO = "firecracker.console"
)

// bareFirecracker is Firecracker without banger: it is told what a VM's that banger started was told, its disks are
// copies of those of one that banger made and never started, below its root is a snapshot of the same image.
type bareFirecracker struct {
	calls     []apiCall
	from      string // the directory of the VM that calls name
	template  string // the directory of the VM whose disks are copied
	image     string
	snapshots *bareSnapshots
	jailed    bool
}

// newBareFirecracker lets banger make both VMs. The one that was never started stays. The VM that is asked is in no jail.
func newBareFirecracker(ctx context.Context, m *home) (b bareFirecracker, err error) {
	if b.snapshots, err = newBareSnapshots(); err != nil {
		return b, err
	}
	if err := m.startVM(ctx, "sample", firecrackerFlags()...); err != nil {
		return b, err
	}
	sample, err := m.find(ctx, "sample")
	if err != nil {
		return b, err
	}
	b.from = sample.dir
	if b.calls, err = readCalls(ctx, filepath.Join(sample.dir, apiSocket)); err != nil {
		return b, err
	}
	if b.image, err = backingFile(sample.dir); err != nil {
		return b, err
	}
	if _, err := m.banger(ctx, "vm", "delete", "sample"); err != nil {
		return b, err
	}
	if _, err := m.banger(ctx, append([]string{"vm", "create", "--name", "template"}, firecrackerFlags()...)...); err != nil {
		return b, err
	}
	template, err := m.find(ctx, "template")
	b.template = template.dir
	return b, err
}

// backingFile is the image below the snapshot of the VM in dir.
func backingFile(dir string) (string, error) {
	h, err := handlesIn(dir)
	if err != nil {
		return "", err
	}
	return firstLine(filepath.Join("/sys/block", filepath.Base(h.Disk.BaseLoop), "loop", "backing_file")), nil
}

// bareBoot is one bare Firecracker.
type bareBoot struct {
	bare    bareFirecracker
	id      model.VMID
	dir     string // its disks' and, without a jail, its own
	sockets string // where it is reached
	calls   []apiCall
	cmd     *exec.Cmd
	console *os.File
	dead    chan struct{} // closed when it has ended; nil before it was started
	undo    []func() error
}

// prepare makes the disks and, where there is one, the jail.
func (b bareFirecracker) prepare(h *host) (v *bareBoot, err error) {
	dir, err := os.MkdirTemp(h.dir, "bare-")
	if err != nil {
		return nil, err
	}
	v = &bareBoot{bare: b, id: model.NewVMID(), dir: dir, sockets: dir}
	v.undo = append(v.undo, func() error { return os.RemoveAll(dir) })
	defer func() {
		if err != nil {
			err = errors.Join(err, v.close())
		}
	}()
	if err := copyDisks(b.template, dir); err != nil {
		return nil, err
	}
	node, err := v.snapshot()
	if err != nil {
		return nil, err
	}
	drives := 0
	for _, c := range b.calls {
		c.body = maps.Clone(c.body)
		if path, ok := c.body["path_on_host"].(string); ok {
			c.body["path_on_host"] = strings.Replace(path, b.from, dir, 1)
			if drives == 0 { // the first is the root's
				c.body["path_on_host"] = node
			}
			drives++
		}
		if line, ok := c.body["boot_args"].(string); ok {
			c.body["boot_args"] = line + " " + bareCommand
		}
		v.calls = append(v.calls, c)
	}
	if b.jailed {
		if err := v.imprison(); err != nil {
			return nil, err
		}
	} else {
		v.cmd = exec.Command("firecracker", "--api-sock", apiSocket, "--id", string(v.id), "--level", "Info")
		v.cmd.Dir = dir
	}
	return v, v.openConsole()
}

func (v *bareBoot) snapshot() (node string, err error) {
	base, err := os.Open(v.bare.image)
	if err != nil {
		return "", err
	}
	defer base.Close()
	cow, err := os.OpenFile(filepath.Join(v.dir, "root.cow"), os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer cow.Close()
	v.undo = append(v.undo, func() error {
		return storage.New(storage.Options{Instance: v.bare.snapshots.instance}).Detach(context.Background(), v.id)
	})
	if err := os.MkdirAll(v.bare.snapshots.dir(), 0o700); err != nil {
		return "", err
	}
	return v.bare.snapshots.make(v.id, base, cow)
}

func (v *bareBoot) openConsole() (err error) {
	path := filepath.Join(v.sockets, consoleFIFO)
	if err := errors.Join(unix.Mkfifo(path, 0o600), os.Chmod(path, 0o666)); err != nil {
		return err
	}
	v.console, err = os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	return err
}

// boot runs it up to the first byte of its command.
func (v *bareBoot) boot(ctx context.Context) (b booted, err error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return b, err
	}
	defer watcher.Close()
	if err := watcher.Add(v.sockets); err != nil {
		return b, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	defer context.AfterFunc(ctx, func() { v.console.Close() })()
	var said strings.Builder
	v.cmd.Stdout, v.cmd.Stderr = &said, &said
	idle, err := busy()
	if err != nil {
		return b, err
	}
	begun := time.Now()
	if err := v.cmd.Start(); err != nil {
		return b, err
	}
	v.dead = make(chan struct{})
	go func() {
		defer close(v.dead)
		_ = v.cmd.Wait() // it is killed at the end, or says why it ended
		v.console.Close()
	}()
	if err := v.instruct(ctx, watcher); err != nil {
		v.end()
		return b, fmt.Errorf("cannot start a bare Firecracker: %w; it says %q", err, said.String())
	}
	b.told = time.Since(begun)
	var seen []string
	lines := bufio.NewScanner(v.console)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		seen = append(seen, line)
		switch line {
		case bareLine:
			b.init = time.Since(begun)
		case "x":
			b.took = time.Since(begun)
			now, err := busy()
			b.busy = now - idle
			cpu, cerr := cpuTime(v.cmd.Process.Pid)
			b.cpu = cpu
			return b, errors.Join(err, cerr)
		}
	}
	v.end()
	return b, fmt.Errorf("cannot find the output of a bare Firecracker's command on its console: %w after %q; it says %q", errors.Join(lines.Err(), context.Cause(ctx)), seen, said.String())
}

// instruct tells Firecracker what to run.
func (v *bareBoot) instruct(ctx context.Context, watcher *fsnotify.Watcher) error {
	if err := v.listens(ctx, watcher); err != nil {
		return err
	}
	a := newFirecrackerAPI(filepath.Join(v.sockets, apiSocket))
	defer a.close()
	for _, c := range v.calls {
		if _, err := a.call(ctx, http.MethodPut, c.path, c.body); err != nil {
			return err
		}
	}
	return nil
}

// listens returns when the API can be called.
func (v *bareBoot) listens(ctx context.Context, watcher *fsnotify.Watcher) error {
	for {
		conn, err := unixsocket.Dial(ctx, filepath.Join(v.sockets, apiSocket))
		if err == nil {
			return conn.Close()
		}
		soon := make(<-chan time.Time)
		if errors.Is(err, unix.ECONNREFUSED) { // that it listens is no event, unlike that its socket is there
			soon = time.After(time.Millisecond)
		}
		select {
		case <-watcher.Events:
		case err := <-watcher.Errors:
			return err
		case <-soon:
		case <-v.dead:
			return errors.New("it has ended")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// end ends it, if it was started.
func (v *bareBoot) end() {
	if v.dead != nil {
		_ = v.cmd.Process.Kill() // unless it has ended
		<-v.dead
	}
}

// close ends it and takes away what it had.
func (v *bareBoot) close() (err error) {
	v.end()
	if v.console != nil {
		v.console.Close()
	}
	for i := len(v.undo) - 1; i >= 0; i-- {
		err = errors.Join(err, v.undo[i]())
	}
	return err
}

// copyInto copies a file to where everybody can read it.
func copyInto(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
