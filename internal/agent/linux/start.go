package linux

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/agent"
)

// Limits on open files: the agent holds pipes for thousands of commands, a command gets what a login gets and may raise it.
const (
	maxFiles      = 1 << 20
	usualMaxFiles = 1024
)

func raiseFileLimit() error {
	_, err := setFileLimit(unix.Rlimit{Cur: maxFiles, Max: maxFiles})
	return err
}

// setFileLimit sets this process's limit of open files and returns the one before.
func setFileLimit(limit unix.Rlimit) (before unix.Rlimit, err error) {
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &limit, &before); err != nil {
		return before, fmt.Errorf("cannot set the limit of open files: %w", err)
	}
	return before, nil
}

// Start begins a process in a session of its own.
func (s *System) Start(c agent.Command) (agent.Process, error) {
	who, err := lookupUser("/", c.User)
	if err != nil {
		return nil, &agent.StartError{Code: codeNotExecutable, Message: err.Error()}
	}
	env := environment(who, c.Env, c.TTY)
	workdir, err := enterable(c.Workdir, who)
	if err != nil {
		return nil, err
	}
	argv, name := c.Argv, ""
	if c.Shell {
		argv, name = loginShell(who)
	} else if len(argv) > 0 {
		name = argv[0]
	}
	program, err := lookProgram(name, valueOf(env, "PATH"), workdir)
	if err != nil {
		return nil, err
	}
	p := &process{}
	// A child takes the limit of open files from the agent at the moment of the fork, and the lock also keeps the pipes'
	// descriptors within it.
	s.forking.Lock()
	defer s.forking.Unlock()
	defer func() {
		for _, fd := range p.theirs {
			unix.Close(fd)
		}
	}()
	files, err := p.plumb(c, who)
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("cannot start a command: %w", err)
	}
	err = p.fork(program, argv, &syscall.ProcAttr{Dir: workdir, Env: env, Files: files, Sys: attributes(who, c.TTY)})
	if err != nil {
		p.Close()
		return nil, startError(name, err)
	}
	s.head.within(commandHead)
	p.over = func() { s.head.within(commandTail) }
	if c.Main {
		s.mu.Lock()
		s.main = p
		s.mu.Unlock()
	}
	select {
	case s.started <- struct{}{}:
	default: // whoever watches has not looked since the last one
	}
	return p, nil
}

func attributes(who account, tty bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Setsid: true, Setctty: tty, Ctty: 0,
		Credential: &syscall.Credential{Uid: who.uid, Gid: who.gid, Groups: who.groups},
	}
}

// loginShell is the account's shell, called as a login shell by the hyphen in its name.
func loginShell(who account) (argv []string, program string) {
	program = who.shell
	if _, err := os.Stat(program); program == "" || err != nil {
		program = "/bin/sh"
	}
	name := program
	for i := len(program) - 1; i >= 0; i-- {
		if program[i] == '/' {
			name = program[i+1:]
			break
		}
	}
	return []string{"-" + name}, program
}

// enterable returns the directory to start in: the one asked for must be there; without one the home, or else the root.
func enterable(dir string, who account) (string, error) {
	asked := dir != ""
	if !asked {
		dir = who.home
	}
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return dir, nil
	case !asked:
		return "/", nil
	case err == nil:
		err = syscall.ENOTDIR
	}
	if pathErr := (*os.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return "", &agent.StartError{Code: codeNotExecutable, Message: fmt.Sprintf("chdir to cwd (%q) failed: %v", dir, err)}
}

// usualSlack is how late the kernel wakes a thread at most (PR_SET_TIMERSLACK of prctl(2), of the first process), in
// nanoseconds. The agent's own is longer; see cmd/banger-agent.
const usualSlack = 50_000

// forkExec is syscall.ForkExec of a program with the usual timer slack, which a child takes from the thread that forks.
func forkExec(program string, argv []string, attr *syscall.ProcAttr) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, usualSlack, 0, 0, 0); err != nil {
		return 0, err
	}
	pid, err := syscall.ForkExec(program, argv, attr)
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(own), 0, 0, 0) // it did a moment ago
	return pid, err
}

// fork starts the program with the usual limit of open files. The caller holds System.forking.
func (p *process) fork(program string, argv []string, attr *syscall.ProcAttr) error {
	pidfd := -1
	attr.Sys.PidFD = &pidfd
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = min(usualMaxFiles, limit.Max)
	before, err := setFileLimit(limit)
	if err != nil {
		return err
	}
	pid, err := forkExec(program, argv, attr)
	if _, lerr := setFileLimit(before); lerr != nil {
		fmt.Fprintln(os.Stderr, "banger-agent:", lerr)
	}
	if err != nil {
		return err
	}
	return p.watch(pid, pidfd)
}
