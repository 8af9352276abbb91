package model

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Limits on a command, so that no request can fill the guest's or the daemon's memory. Linux itself takes 2 MiB of
// arguments and environment together with the default stack limit (a quarter of it, execve(2)).
const (
	MaxArgvBytes = 2 * MiB
	MaxEnvBytes  = 1 * MiB
)

// ExecSpec is a command to run in a guest.
type ExecSpec struct {
	Argv    []string
	Env     []string      // K=V, on top of the image's and the VM's
	Workdir string        // absolute, or "" for the VM's or the user's home
	User    string        // name or uid[:gid], or "" for the VM's
	TTY     bool          // give it a terminal
	Stdin   bool          // stream standard input; otherwise it reads end of file
	Main    bool          // it is the VM's main command: a stop of the VM asks it first, by the image's signal
	Rows    uint16        // of the terminal
	Cols    uint16        // likewise
	Timeout time.Duration // 0 for none, counted from the command's start
}

// Validate checks a command before anything is asked of a guest.
func (e ExecSpec) Validate() error {
	if len(e.Argv) == 0 || e.Argv[0] == "" {
		return Errorf(ErrInvalid, "no command was given: write it after --, such as -- uname -a")
	}
	total := 0
	for _, a := range e.Argv {
		if strings.ContainsRune(a, 0) {
			return Errorf(ErrInvalid, "an argument holds a NUL byte, which no program can be given")
		}
		total += len(a) + 1
	}
	if int64(total) > MaxArgvBytes {
		return Errorf(ErrInvalid, "the arguments are %s long: at most %s are possible", FormatSize(int64(total)), FormatSize(MaxArgvBytes))
	}
	if e.Timeout < 0 {
		return Errorf(ErrInvalid, "a timeout cannot be negative")
	}
	return e.validateContext()
}

func (e ExecSpec) validateContext() error {
	total := 0
	for _, kv := range e.Env {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || name == "" || strings.ContainsRune(kv, 0) {
			return Errorf(ErrInvalid, "%q is not an environment variable: write NAME=value", kv)
		}
		total += len(kv) + 1
	}
	if int64(total) > MaxEnvBytes {
		return Errorf(ErrInvalid, "the environment is %s long: at most %s are possible", FormatSize(int64(total)), FormatSize(MaxEnvBytes))
	}
	if e.Workdir != "" && (!strings.HasPrefix(e.Workdir, "/") || strings.ContainsRune(e.Workdir, 0) || len(e.Workdir) > 4095) {
		return Errorf(ErrInvalid, "%q cannot be the working directory: write an absolute path of the guest", e.Workdir)
	}
	if len(e.User) > 256 || strings.ContainsAny(e.User, "\x00\n/ ") || !utf8.ValidString(e.User) {
		return Errorf(ErrInvalid, "%q is not a user: write a name, or uid or uid:gid", e.User)
	}
	return nil
}

// ExecStatus is how a command ended.
type ExecStatus struct {
	Code     int    // exit code by docker's contract: 0-255; 126 not executable, 127 not found, 128+N by signal N, 124 timed out
	Signal   int    // the signal that ended it, or 0
	TimedOut bool   // the timeout ended it
	Message  string // why it could not be started (code 126 or 127), else ""
}
