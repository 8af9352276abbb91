package model

import (
	"time"
	"unicode/utf8"
)

// Limits and defaults of a VM's shape. The upper ones are what the VMMs and the guest kernel take, not what a host has.
const (
	MaxVCPUs       = 64
	MinMemoryBytes = 128 * MiB
	MaxMemoryBytes = 1 * TiB
	MinDiskBytes   = 64 * MiB
	MaxDiskBytes   = 16 * TiB

	DefaultVCPUs       = 2
	DefaultMemoryBytes = 1 * GiB
	DefaultDiskBytes   = 8 * GiB
)

// Spec is what the user asked for.
type Spec struct {
	Image       string   `json:"image"`             // as named by the user; the digest it meant then is VM.Image
	Kernel      string   `json:"kernel"`            // likewise
	VCPUs       int      `json:"vcpus"`             // virtual processors
	MemoryBytes int64    `json:"memory_bytes"`      // guest memory
	DiskBytes   int64    `json:"disk_bytes"`        // size of the work disk
	Network     string   `json:"network"`           // network policy; "none" for now
	Env         []string `json:"env,omitempty"`     // K=V, for every command run in the VM
	Workdir     string   `json:"workdir,omitempty"` // absolute; where commands start, else the user's home
	User        string   `json:"user,omitempty"`    // name or uid[:gid]; who runs commands, else the image's user
}

// Validate checks the fields of a complete Spec (defaults already filled in).
func (s Spec) Validate() error {
	switch {
	case s.VCPUs < 1 || s.VCPUs > MaxVCPUs:
		return Errorf(ErrInvalid, "%d is not a possible number of vCPUs: between 1 and %d are", s.VCPUs, MaxVCPUs)
	case s.MemoryBytes < MinMemoryBytes || s.MemoryBytes > MaxMemoryBytes:
		return Errorf(ErrInvalid, "%s of memory is not possible: between %s and %s are", FormatSize(s.MemoryBytes), FormatSize(MinMemoryBytes), FormatSize(MaxMemoryBytes))
	case s.DiskBytes < MinDiskBytes || s.DiskBytes > MaxDiskBytes:
		return Errorf(ErrInvalid, "a disk of %s is not possible: between %s and %s are", FormatSize(s.DiskBytes), FormatSize(MinDiskBytes), FormatSize(MaxDiskBytes))
	case s.Network != "none":
		return Errorf(ErrInvalid, "%q is not a network policy: only none is, for now", s.Network)
	}
	for _, text := range append([]string{s.Workdir}, s.Env...) {
		if !utf8.ValidString(text) {
			return Errorf(ErrInvalid, "%q is not UTF-8: what every command of a VM gets must be; give it to the command, with banger vm exec", text)
		}
	}
	return ExecSpec{Env: s.Env, Workdir: s.Workdir, User: s.User}.validateContext()
}

// VM is what a VM is: identity, intent and what was decided for it. It says nothing of processes or devices; that is
// Handles. Paths, sockets, addresses and device names are functions of ID and Slot.
type VM struct {
	ID         VMID
	Name       string
	Slot       int // small number, unique among the installation's VMs; addresses and device names derive from it
	Spec       Spec
	Image      Digest // the image's content
	Kernel     Digest // the kernel's content
	VMM        string // driver that runs it, kept for its life
	RootDisk   string // driver of its root disk, likewise
	Network    string // driver of its network, likewise
	State      State
	LastError  string // why it failed, or ended without being asked to; "" when all is well
	Generation int64  // counts starts; the agent applies one Configure per generation
	Leased     bool   // made for one command: deleted when its client is gone
	CreatedAt  time.Time
	StartedAt  time.Time // last time it became running; zero if never
	UsedAt     time.Time // last command or shell
}
