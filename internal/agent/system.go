package agent

import (
	"context"
	"fmt"
	"io"
	"time"

	"banger/internal/model"
)

// System is the operating system that an agent acts on: a real guest (package linux) or a fake one. Its methods are safe
// for concurrent use.
type System interface {
	// BootID is the same for one boot and differs from every other's.
	BootID() string
	// TimerRate is what the kernel takes its processor's timer to run at, over the true rate: 1 where it is right, more
	// where timers are late by as much, 0 when that cannot be told.
	TimerRate() float64
	// Configure makes the system what c says and returns when commands can run in its root. It is called once per
	// generation, never concurrently; after the first time only the identity changes (name, clock, entropy).
	Configure(ctx context.Context, c Config) error
	// Root is the directory whose files copies read and write: a guest's own root.
	Root() string
	// Account is who "name", "uid", "name:group" or "uid:gid" is; "" for root.
	Account(user string) (uid, gid int, err error)
	// Start begins a process. A *StartError says why a command cannot be run, by docker's codes.
	Start(c Command) (Process, error)
	// WatchListeners reports the TCP ports that the guest listens on and others can reach, in order, at once and after each
	// change, until ctx ends or report fails. While eager says so, a change is seen within a second.
	WatchListeners(ctx context.Context, eager func() bool, report func(ports []uint16) error) error
	// Sync writes dirty pages to the disks.
	Sync() error
	// Stop ends everything in good order within grace and powers off. It returns only when it cannot.
	Stop(grace time.Duration) error
}

// Config is what a guest shall be.
type Config struct {
	Generation int64
	Hostname   string
	MachineID  string
	Join       model.Join
	Root       []string // serials of the root disk's drives, in the join's order
	Work       string   // serial of the drive for the user's home; "" for none
	Modules    string   // serial of the drive with the kernel's modules; "" for none
	Init       model.InitMode
	InitPath   string
	Env        []string // NAME=value, for every command
	User       string   // who runs commands; "" for root
	Workdir    string   // where commands start, made when it is missing; "" for the user's home
	StopSignal int      // what asks the main command to end; 0 for TERM
	Link       Link
	Time       time.Time // zero leaves the clock alone
	Entropy    []byte
	CA         []byte // more certificate authorities for the root to trust, PEM
}

// Link is the network interface; an empty MAC means that there is none.
type Link struct {
	MAC     []byte
	MTU     int
	Address string // with the prefix length
	Gateway string
	DNS     []string
	Search  []string // domains that short names are tried in
}

// Command is a process to start: what was asked for, with the configuration's defaults filled in.
type Command struct {
	Argv       []string
	Env        []string // NAME=value; a later one wins
	Workdir    string   // "" for the user's home
	User       string   // "" for root
	Shell      bool     // Argv is empty: the user's login shell
	TTY        bool
	Stdin      bool // otherwise it reads end of file
	Main       bool // a stop of the system asks this one first
	Rows, Cols uint16
}

// Process is a started command. The agent calls Wait once, while it reads each output until its end.
type Process interface {
	// Stdin is nil when the command was started without.
	Stdin() io.WriteCloser
	// Stdout and Stderr end when no process holds them any more; a terminal's not before Wait has returned, and its Stderr
	// is nil.
	Stdout() Reader
	Stderr() Reader
	// Wait returns when the first process has ended.
	Wait() Exit
	// Signal is for the first process alone; SignalAll for all of its process group. Both do nothing after the end.
	Signal(number int) error
	SignalAll(number int) error
	Resize(rows, cols uint16) error
	// Close lets go of the terminal, once the outputs have ended.
	Close() error
}

// Reader is an output whose blocked Read a deadline wakes.
type Reader interface {
	io.ReadCloser
	SetReadDeadline(t time.Time) error
}

// Exit is how a process ended: by a signal when that is not 0.
type Exit struct{ Code, Signal int }

// StartError is why a command could not be started: code 127 not found, 126 not executable.
type StartError struct {
	Code    int
	Message string
}

func (e *StartError) Error() string { return fmt.Sprintf("%s (code %d)", e.Message, e.Code) }
