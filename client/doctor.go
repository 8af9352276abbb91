package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"banger/internal/companion"
	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/version"
)

// Diagnosis is what was found out of a host.
type Diagnosis = model.Diagnosis

// Check is one thing that was looked at.
type Check = model.Check

// Leak is one thing of banger's that no VM accounts for.
type Leak = model.Leak

// The statuses of a Check.
const (
	CheckOK      = model.CheckOK
	CheckWarning = model.CheckWarning
	CheckProblem = model.CheckProblem
)

// DoctorRequest says what to look for beside what keeps VMs from running.
type DoctorRequest struct {
	Verify   bool              // read every byte of the images and kernels
	Leaks    bool              // what no VM accounts for
	Progress func(line string) // hears what takes long; nil for nobody
}

const (
	lookLimit    = 2 * time.Minute  // for a look at the host, on one whose every core is busy
	verifyLimit  = 30 * time.Minute // with --verify
	answerLimit  = 5 * time.Second  // for a daemon that runs
	maxDiagnosis = 16 << 20
	maxLine      = 4 << 10
)

// Doctor finds out whether VMs can run on this host. It needs no daemon, starts none and changes nothing: the daemon's
// program is run to look and to end. What keeps that from running is in the Diagnosis, too.
func Doctor(ctx context.Context, o Options, r DoctorRequest) (Diagnosis, error) {
	if o.Dirs == (dirs.Dirs{}) {
		var err error
		if o.Dirs, err = dirs.Default(); err != nil {
			return Diagnosis{}, err
		}
	}
	d, err := look(ctx, o, r)
	if ctx.Err() != nil {
		return Diagnosis{}, model.Errorf(model.ErrCanceled, "canceled: %w", context.Cause(ctx))
	}
	if err != nil {
		d = Diagnosis{Version: version.Version, Checks: []Check{model.CheckOf("programs", err, "")}}
		if r.Leaks {
			d.Leaks = []Leak{}
		}
	}
	d.Checks = append(d.Checks, checkDaemon(ctx, o, d.Version))
	return d, nil
}

// look has the daemon's program look at the host.
func look(ctx context.Context, o Options, r DoctorRequest) (Diagnosis, error) {
	program, err := o.daemonProgram()
	if err != nil {
		return Diagnosis{}, err
	}
	limit := lookLimit
	args := []string{"doctor", "--client", version.Version}
	if r.Leaks {
		args = append(args, "--leaks")
	}
	if r.Verify {
		args, limit = append(args, "--verify"), verifyLimit
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it has not answered after %s", limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	said := &lines{hear: r.Progress}
	cmd.Stderr = said
	out, err := companion.Output(cmd, maxDiagnosis)
	var d Diagnosis
	if err == nil {
		err = json.Unmarshal(out, &d)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		if said.last != "" {
			err = fmt.Errorf("%w (%s)", err, said.last)
		}
		return d, model.Errorf(model.ErrUnavailable, "cannot have %s look at this host: %w; install banger again", program, err)
	}
	return d, nil
}

// lines hands on whole lines and remembers the last one.
type lines struct {
	hear    func(line string)
	partial []byte
	last    string
}

func (l *lines) Write(p []byte) (int, error) {
	for text := range bytes.Lines(p) {
		l.partial = append(l.partial, text[:min(len(text), maxLine-len(l.partial))]...)
		if !bytes.HasSuffix(text, []byte("\n")) {
			break
		}
		l.last, l.partial = strings.TrimSpace(string(l.partial)), l.partial[:0]
		if l.hear != nil {
			l.hear(l.last)
		}
	}
	return len(p), nil
}

// checkDaemon asks the daemon that runs, if one does, for its version. theirs is that of the program that would be started.
func checkDaemon(ctx context.Context, o Options, theirs string) Check {
	const name = "daemon"
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	pid, err := procs.LockHolder(o.Dirs.Lock())
	if err != nil {
		return model.CheckOf(name, model.HostErrorf(err, "cannot tell whether a daemon runs"), "")
	}
	o.Autostart, o.Log = false, nil
	var s DaemonStatus
	c, err := Dial(ctx, o)
	if err == nil {
		defer c.Close()
		s, err = c.Status(ctx)
	}
	switch {
	case err == nil && s.Version != theirs:
		return Check{Name: name, Status: CheckWarning, Fix: "banger daemon restart",
			Detail: fmt.Sprintf("process %d is of version %s, and the program is %s; VMs go on over a restart", s.PID, s.Version, theirs)}
	case err == nil:
		return model.CheckOf(name, socketSafe(o.Dirs.Socket()), fmt.Sprintf("process %d, version %s; only you may use its socket", s.PID, s.Version))
	case pid != 0 && !errors.Is(err, ErrDenied):
		return Check{Name: name, Status: CheckProblem, Fix: fmt.Sprintf("kill -KILL %d", pid),
			Detail: fmt.Sprintf("process %d holds the daemon's lock and does not answer; VMs go on without it, and the next command starts another", pid)}
	case errors.Is(err, ErrUnavailable), errors.Is(err, os.ErrNotExist):
		return Check{Name: name, Status: CheckOK, Detail: "none runs; the next command starts it"}
	}
	return model.CheckOf(name, err, "")
}

// socketSafe says whether only its owner may connect to the socket. The directory around it was checked when it was dialed.
func socketSafe(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return model.HostErrorf(err, "cannot look at the daemon's socket")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return model.Fixable(model.ErrDenied, "chmod 600 "+model.ShellWord(path), "the mode of %s is %#o: it lets other users in", path, info.Mode().Perm())
	}
	return nil
}
