package scenario

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rogpeppe/go-internal/testscript"
)

type backgroundKey struct{}

// backgrounds are the commands that a script started and has not waited for, by name.
type backgrounds map[string]*background

type background struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// stop ends the command if it still runs.
func (b *background) stop() {
	b.cancel()
	<-b.done
}

// cmdBackground starts a command whose output goes to NAME.out and NAME.err and whose process id is in $NAME_PID:
// `background NAME [-in FILE] banger …`. The process is the named program itself, so that signals reach it.
func cmdBackground(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: background NAME [-in FILE] command…")
	}
	name := args[0]
	opts, argv := options(args[1:], "in")
	all := ts.Value(backgroundKey{}).(backgrounds)
	if all[name] != nil {
		ts.Fatalf("%s runs already", name)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &background{cmd: command(ctx, ts, argv), cancel: cancel, done: make(chan struct{})}
	// A group of its own, so that what it started ends with it.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	b.cmd.Cancel = func() error { return syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) }
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer out.Close()
	complaint, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	defer complaint.Close()
	b.cmd.Stdout, b.cmd.Stderr = out, complaint
	if opts["in"] != "" {
		// Opened for both ways, a FIFO does not wait here for its other end.
		in, err := os.OpenFile(ts.MkAbs(opts["in"]), os.O_RDWR, 0)
		ts.Check(err)
		defer in.Close()
		b.cmd.Stdin = in
	}
	ts.Check(b.cmd.Start())
	all.add(name, b)
	ts.Setenv(name+"_PID", strconv.Itoa(b.cmd.Process.Pid))
}

func (all backgrounds) add(name string, b *background) {
	all[name] = b
	go func() {
		b.err = b.cmd.Wait()
		close(b.done)
	}()
}

// Adopt makes a started command one of the script's background commands: cancel ends it no later than the script.
func Adopt(ts *testscript.TestScript, name string, cmd *exec.Cmd, cancel context.CancelFunc) {
	all := ts.Value(backgroundKey{}).(backgrounds)
	all.add(name, &background{cmd: cmd, cancel: cancel, done: make(chan struct{})})
}

// cmdWaitBackground waits for a command and requires its exit code; a negative one is the signal that ended it,
// and "any" is fine with each.
func cmdWaitBackground(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitbg NAME CODE")
	}
	all := ts.Value(backgroundKey{}).(backgrounds)
	b := all[args[0]]
	if b == nil {
		ts.Fatalf("%s does not run", args[0])
	}
	want, err := strconv.Atoi(args[1])
	whatever := args[1] == "any"
	if !whatever {
		ts.Check(err)
	}
	select {
	case <-b.done:
	case <-time.After(commandTimeout()):
		tellOfVMs(ts)
		ts.Fatalf("%s still runs after %s", args[0], commandTimeout())
	}
	b.cancel()
	delete(all, args[0])
	if whatever {
		return
	}
	if want < 0 {
		status := b.cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !status.Signaled() || int(status.Signal()) != -want {
			ts.Fatalf("%s ended with %v, not by signal %d", args[0], b.err, -want)
		}
		return
	}
	requireCode(ts, b.err, want)
}

// cmdWaitFor waits until a file exists, and with a pattern until its content matches: `waitfor [-within 20s] FILE [REGEXP]`.
func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	limit, rest := within(ts, args)
	if neg || len(rest) < 1 || len(rest) > 2 {
		ts.Fatalf("usage: waitfor [-within DURATION] FILE [REGEXP]")
	}
	path, pattern := ts.MkAbs(rest[0]), regexp.MustCompile("")
	if len(rest) == 2 {
		pattern = regexp.MustCompile("(?m)" + rest[1])
	}
	matches := func() bool {
		data, err := os.ReadFile(path)
		return err == nil && pattern.Match(data)
	}
	if !watch(ts, filepath.Dir(path), limit, matches) {
		data, _ := os.ReadFile(path)
		ts.Fatalf("%s does not match %q after %s: %s", rest[0], pattern, limit, data)
	}
}

// watch looks at holds each time that something changes in dir, until it is so or the limit is over.
func watch(ts *testscript.TestScript, dir string, limit time.Duration, holds func() bool) bool {
	watcher, err := fsnotify.NewWatcher()
	ts.Check(err)
	defer watcher.Close()
	err = watcher.Add(dir)
	if os.IsNotExist(err) && holds() { // a directory that is gone holds nothing
		return true
	}
	ts.Check(err)
	end := time.After(limit)
	for !holds() {
		select {
		case <-watcher.Events:
		case err := <-watcher.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) { // of so many changes one is enough
				ts.Check(err)
			}
		case <-end:
			return false
		}
	}
	return true
}
