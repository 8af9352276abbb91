// Package vmm is the contract between the VM service and the programs that run virtual machines.
//
// The service calls Start with a directory, disks, a link and an open, exclusively locked file that the VMM process must
// hold as its standard input from before its exec until its death: that lock is the one proof that a VM lives, so at no
// moment can two VMMs open one disk. The process belongs to no context and to no parent: it survives the daemon, is
// found again by Find, and is signalled through a pidfd only. A driver writes nothing down: sockets lie in the VM's
// directory under fixed names, and what the service knew (model.Handles) comes back as a hint that may be empty, stale
// or a lie.
//
// Start leaves a running VMM or nothing. Remove and Kill of what is already gone succeed. Callers ask Features, never
// the name. Errors carry a kind of package model: ErrUnsupported when this host cannot run the driver (with the package to
// install), ErrNotFound from Find when no VMM of that VM lives.
package vmm

import (
	"context"
	"io"
	"net"
	"os"

	"banger/internal/model"
	"banger/internal/network"
)

// LockName is the lock's file in a VM's directory.
const LockName = "vmm.lock"

// Driver is one virtual machine monitor.
type Driver interface {
	Name() string
	// Features tells what the driver can do on this host. The first call may probe (and cache); it does not fail: what
	// cannot run is told by Features.Problem.
	Features(ctx context.Context) Features
	// Start runs a VMM for c and returns once the guest's first instruction may run.
	Start(ctx context.Context, c Config) (Machine, error)
	// Find adopts the living VMM of a VM after a restart of the daemon, without disturbing it. dir is the VM's directory,
	// the one that Config.Dir named.
	Find(ctx context.Context, id model.VMID, dir string, hint model.Handles) (Machine, error)
	// Remove takes away what a dead VMM left: sockets, jail, cgroup. Twice is fine.
	Remove(ctx context.Context, id model.VMID, dir string, hint model.Handles) error
	// Sweep removes what bears this installation's mark outside the VMs' directories and has no VM in keep.
	Sweep(ctx context.Context, keep map[model.VMID]bool) error
}

// Machine is one living VMM.
type Machine interface {
	Process() model.Process
	// Agent opens the byte stream to the guest's agent: clean, with nothing in it from an earlier connection. It waits
	// for the guest to answer until ctx ends. A new stream makes the agent drop the old one.
	Agent(ctx context.Context) (net.Conn, error)
	// Kill ends the VMM at once and returns when it is dead. A graceful stop is the service's business, through the agent.
	Kill(ctx context.Context) error
	// Done is closed when the VMM is dead.
	Done() <-chan struct{}
	// Exit says why, once Done is closed.
	Exit() model.Exit
	// Close lets go of the VMM without disturbing it: descriptors and goroutines of this process only.
	Close() error
}

// Consoler is the optional power to hand over the guest's console. The reader is connected before the guest's first
// instruction; the service drains it from then on and closes it.
type Consoler interface {
	Console() (io.ReadCloser, error)
}

// Jailed is the optional power to tell of the jail that the VMM runs in; it is empty for one that is in none.
type Jailed interface {
	Jail() model.JailHandles
	JailLinks() []network.LinkKind // those that VMMs in jails take
}

// JailOf is the jail of a machine.
func JailOf(m Machine) model.JailHandles {
	if j, ok := m.(Jailed); ok {
		return j.Jail()
	}
	return model.JailHandles{}
}

// Features is what a driver can do on this host, and at what speed.
type Features struct {
	Version string // of the VMM program
	Accel   string // "kvm" or "tcg"; "none" for the fake
	Slow    string // why it is slow here, one line for the user; "" when it is not
	Problem string // why it cannot run here at all; "" when it can
	Fix     string // the command that mends the Problem, or else what makes it Slow; "" when none does
	Links   []network.LinkKind
	Formats []string // drive formats: "raw", "qcow2"
	Console bool     // its machines are Consolers
}

// Config is one VM to start.
type Config struct {
	ID          model.VMID
	Slot        int
	Dir         string // the VM's directory, for sockets; may be longer than a socket path
	VCPUs       int
	MemoryBytes int64
	Kernel      string   // uncompressed vmlinux
	Initrd      string   // initramfs whose /init is the agent
	Cmdline     []string // more kernel parameters, one each; no spaces, no secrets
	Drives      []model.Drive
	Link        network.Link
	Tap         *os.File // the link's tap, of the kind LinkOpenTap; the driver does not close it
	Lock        *os.File // becomes the VMM's standard input
}
