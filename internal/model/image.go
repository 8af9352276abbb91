package model

import (
	"strings"
	"time"
)

// Digest is the SHA-256 of a file's bytes, written sha256:<64 hex digits>.
type Digest string

// Hex returns the digits without the algorithm, for file names.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), "sha256:") }

// Short returns the first 12 digits, for people.
func (d Digest) Short() string { return d.Hex()[:min(12, len(d.Hex()))] }

// Valid says whether d is a whole SHA-256 digest.
func (d Digest) Valid() bool {
	hex, ok := strings.CutPrefix(string(d), "sha256:")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

// InitMode is what becomes PID 1 of the guest once its root is mounted.
type InitMode string

// The init modes.
const (
	InitAgent   InitMode = "agent"   // the agent stays PID 1 and reaps
	InitSystemd InitMode = "systemd" // the image's own init; the agent stays beside it
)

// DefaultImage and DefaultKernel are the names that a VM without others gets; both are built on first use.
const (
	DefaultImage  = "debian"
	DefaultKernel = "debian-cloud"
)

// Image is a root file system: a read-only ext4 file known by its content.
type Image struct {
	Digest    Digest // of the ext4 file
	Name      string
	Arch      string // "amd64"
	Source    string // where it came from, for people: "debian bookworm, mmdebstrap"
	Init      InitMode
	InitPath  string   // the init program inside the image, for InitSystemd
	Env       []string // K=V
	Workdir   string
	User      string
	SizeBytes int64 // apparent size: the root's virtual size
	DiskBytes int64 // what it takes on disk
	CreatedAt time.Time
}

// Kernel is a guest kernel: an uncompressed vmlinux and its modules as a read-only ext4.
type Kernel struct {
	Digest       Digest // of the vmlinux, the modules file and the list of early modules together
	Name         string
	Arch         string
	Release      string   // uname -r
	Source       string   // the package and its version
	EarlyModules []string // paths under /lib/modules/<release>, in the order of loading
	SizeBytes    int64
	CreatedAt    time.Time
}
