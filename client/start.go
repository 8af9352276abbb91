package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"banger/internal/companion"
	"banger/internal/model"
)

// startLimit is how long a daemon may take until it listens; it reads its database and looks at the host in that time.
const startLimit = 60 * time.Second

// patience is how long a client waits for the socket of a daemon that another client has started, before it looks again
// whether there is one.
const patience = 2 * time.Second

// start starts the daemon and connects to it. When many clients do so at once, the daemon's lock decides which daemon
// lives, and all of them get that one's socket.
func (c *Client) start(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, model.Errorf(model.ErrTimeout,
		"cannot start the daemon: it does not listen after %s; see: banger doctor, and %s", startLimit, c.options.Dirs.Log()))
	defer cancel()
	if err := c.options.Dirs.Secure(); err != nil {
		return nil, err
	}
	program, err := c.options.daemonProgram()
	if err != nil {
		return nil, err
	}
	for {
		answer, err := spawn(ctx, program, c.options.Dirs.Log())
		if err != nil {
			return nil, err
		}
		switch answer {
		case "ready":
		case "running":
			if err := c.awaitSocket(ctx); err != nil {
				return nil, err
			}
		default:
			return nil, model.Errorf(model.ErrUnavailable, "%s", answer)
		}
		conn, err := c.connect(ctx)
		if err == nil || !notRunning(err) {
			return conn, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// daemonProgram finds the bangerd that belongs to this program: a stranger's on PATH is the last resort.
func (o Options) daemonProgram() (string, error) {
	if o.Daemon != "" {
		return o.Daemon, nil
	}
	found, err := companion.Find("bangerd")
	if err == nil {
		return found, nil
	}
	path, lookErr := exec.LookPath("bangerd")
	if lookErr != nil {
		return "", model.Errorf(model.ErrUnavailable, "cannot start the daemon: %w", err)
	}
	return filepath.Abs(path)
}

// spawn starts a daemon of its own session and returns what it says of itself on its descriptor 3: "ready" when it
// listens, "running" when another daemon holds the lock, else why it cannot start.
func spawn(ctx context.Context, program, log string) (string, error) {
	says, theirs, err := os.Pipe()
	if err != nil {
		return "", model.HostErrorf(err, "cannot start the daemon")
	}
	defer says.Close()
	defer theirs.Close()
	// Only what the Go runtime says of a crash goes here; the daemon keeps its log itself.
	out, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return "", model.HostErrorf(err, "cannot open the daemon's log")
	}
	defer out.Close()
	cmd := exec.Command(program)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = "/"
	cmd.Env = daemonEnv(os.Environ())
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := startPrivately(cmd); err != nil {
		return "", model.HostErrorf(err, "cannot start the daemon %s", program)
	}
	go func() { _ = cmd.Wait() }() // it outlives us; should it not, nobody else takes note of its end
	_ = theirs.Close()
	defer context.AfterFunc(ctx, func() { _ = says.SetReadDeadline(time.Now()) })()
	return listen(ctx, says, log)
}

func listen(ctx context.Context, says io.Reader, log string) (string, error) {
	const most = 4096
	r := bufio.NewReader(io.LimitReader(says, most))
	line, err := r.ReadString('\n')
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if answer := strings.TrimSpace(line); answer == "ready" || answer == "running" {
		return answer, nil
	}
	rest, _ := io.ReadAll(r)
	answer := strings.TrimPrefix(strings.TrimSpace(line+string(rest)), "error: ")
	if answer == "" {
		return "", model.Errorf(model.ErrUnavailable, "cannot start the daemon: it ended at once (%v); see: banger doctor, and %s", err, log)
	}
	return answer, nil
}

// daemonSlack is how late the kernel may wake the daemon's threads, and those of what it starts unless they choose another, as
// QEMU does. Go's monitor thread (sysmon in runtime/proc.go) asks to be woken after 20 µs, fifty times before it waits longer,
// and begins anew whenever a system call took its time. With the usual 50 µs it is woken so often, in the way of all else
// where there is one processor.
const daemonSlack = time.Millisecond

// startPrivately starts cmd under umask 077 and with the daemon's slack. A umask belongs to the process, so it is set on a
// thread that has left the process's, and is thrown away with it.
func startPrivately(cmd *exec.Cmd) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this goroutine
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			unix.Umask(0o077)
			_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(daemonSlack.Nanoseconds()), 0, 0, 0) // without it all is only slower
			err = cmd.Start()
		}
		done <- err
	}()
	return <-done
}

// daemonEnv keeps what a daemon needs of a client's environment: it outlives the shell that the rest belongs to.
func daemonEnv(env []string) []string {
	var kept []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch strings.ToUpper(name) {
		case "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "GOCOVERDIR", "GOTRACEBACK":
			kept = append(kept, kv)
			continue
		}
		if strings.HasPrefix(name, "XDG_") && strings.HasSuffix(name, "_HOME") || strings.HasPrefix(name, "BANGER_") {
			kept = append(kept, kv)
		}
	}
	return kept
}

// awaitSocket returns when the socket can be dialed, or has changed, or patience is over.
func (c *Client) awaitSocket(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return model.HostErrorf(err, "cannot wait for the daemon")
	}
	defer watcher.Close()
	if err := watcher.Add(c.options.Dirs.State); err != nil {
		return model.HostErrorf(err, "cannot wait for the daemon")
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		conn, err := c.connect(ctx) // after the watch began: a socket that comes now is not missed
		if err == nil {
			return conn.Close()
		}
		if !notRunning(err) {
			return err
		}
		if !c.socketEvent(ctx, watcher, over.C) {
			return context.Cause(ctx)
		}
	}
}

// socketEvent waits for a change of the socket; false when there was none in time.
func (c *Client) socketEvent(ctx context.Context, watcher *fsnotify.Watcher, over <-chan time.Time) bool {
	for {
		select {
		case e, ok := <-watcher.Events:
			if !ok {
				return false
			}
			if e.Name == c.options.Dirs.Socket() {
				return true
			}
		case err := <-watcher.Errors:
			return errors.Is(err, fsnotify.ErrEventOverflow)
		case <-over:
			return false
		case <-ctx.Done():
			return false
		}
	}
}
