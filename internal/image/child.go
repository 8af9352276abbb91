package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"banger/internal/crash"
	"banger/internal/model"
)

const (
	childGrace   = 20 * time.Second // for what a program leaves running to close its output
	maxLine      = 4 << 10
	maxLastLines = 12
)

// child is one program of the host that works in a scratch directory.
type child struct {
	path   string
	args   []string
	env    []string // whole; nothing of ours is inherited
	work   scratch
	stdout io.Writer
	line   func(string) // each line of its standard error, or nil
}

// run returns when the program and those it started have ended. Its error carries the last lines that it wrote to its
// standard error.
//
// The program is the leader of a process group of its own, which a cancel kills as a whole: asked to end, mmdebstrap may
// be between two of its signal handlers and go on, and without it those below it wait for each other for ever. What they
// leave is for the scratch directory's removal. The program is asked to end when this process dies; that request is bound
// to the life of the thread that started it, so the thread is kept.
func (c child) run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	lines := &lineWriter{visit: c.line}
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Env, cmd.Dir = c.env, c.work.dir
	cmd.Stdout, cmd.Stderr = c.stdout, lines
	cmd.ExtraFiles = []*os.File{c.work.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } //nolint:forbidigo // its whole group; it is not reaped yet
	cmd.WaitDelay = childGrace
	crash.At("image.program.before")
	err := cmd.Start()
	if err == nil {
		crash.At("image.program.after")
		err = cmd.Wait()
	}
	lines.end()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return model.Errorf(model.ErrCanceled, "canceled: %w", context.Cause(ctx))
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // it succeeded, and a daemon that it left holds its standard error
	case errors.As(err, &exit):
		return fmt.Errorf("%s failed (%w):\n%s", c.name(), exit, strings.Join(lines.last, "\n"))
	}
	return err
}

func (c child) name() string { return c.path[strings.LastIndexByte(c.path, '/')+1:] }

// childEnv is the environment of every child: plain, with what says how to reach the network.
func childEnv(more ...string) []string {
	env := []string{"LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, name := range []string{"HOME", "USER", "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, more...)
}

// lineWriter hands on whole lines and remembers the last ones. Carriage returns end lines too, as in progress meters.
type lineWriter struct {
	visit   func(string)
	partial []byte
	last    []string
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			w.add(p)
			break
		}
		w.add(p[:i])
		w.end()
		p = p[i+1:]
	}
	return n, nil
}

func (w *lineWriter) add(p []byte) {
	w.partial = append(w.partial, p[:min(len(p), maxLine-len(w.partial))]...)
}

// end closes the current line.
func (w *lineWriter) end() {
	line := strings.TrimSpace(string(w.partial))
	w.partial = w.partial[:0]
	if line == "" {
		return
	}
	if w.last = append(w.last, line); len(w.last) > maxLastLines {
		w.last = w.last[1:]
	}
	if w.visit != nil {
		w.visit(line)
	}
}
