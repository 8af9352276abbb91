package process

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/procs"
)

// Command is a VMM to run.
type Command struct {
	Argv   []string // the program's absolute path first
	Dir    string   // its working directory
	Lock   *os.File // becomes its standard input, and is held by it until its death
	Output *os.File // its standard output; nil for none
	Errors *os.File // its standard error; nil for none
	Files  []*os.File
	// OwnNetwork gives it a user and a network namespace of its own, in which it is root: it can make a tap there, and do
	// nothing to the host's network.
	OwnNetwork bool
}

// Start runs c in a session of its own: no signal of the caller's terminal reaches it, and it outlives the caller. coreErr
// says that core dumps, which hold the guest's memory, could not be forbidden.
func Start(c Command) (child *procs.Child, coreErr, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer null.Close()
	files := []*os.File{c.Lock, null, null}
	if c.Output != nil {
		files[1] = c.Output
	}
	if c.Errors != nil {
		files[2] = c.Errors
	}
	crash.At("process.start.before")
	child, err = procs.Start(c.Argv[0], c.Argv, os.ProcAttr{
		Dir:   c.Dir,
		Env:   []string{"PATH=/usr/bin:/bin", "LC_ALL=C"},
		Files: append(files, c.Files...),
		Sys:   attributes(c.OwnNetwork),
	})
	if err != nil {
		return nil, nil, err
	}
	crash.At("process.start.spawned")
	// The VMM has parsed nothing of the guest's by now.
	coreErr = unix.Prlimit(child.Process().PID, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
	crash.At("process.start.after")
	return child, coreErr, nil
}

func attributes(ownNetwork bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true}
	if ownNetwork {
		a.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET
		a.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	return a
}
