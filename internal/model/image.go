package model

import (
	"path"
	"slices"
	"strings"
	"time"
)

// Digest is a SHA-256 of a file's content, written sha256:<64 hex digits>.
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
	Digest     Digest   // of the ext4 file
	Name       string   // the first of Tags; "" when it has none
	Tags       []string // every name that means it, in the order in which they were given
	Arch       string   // "amd64"
	Platform   string   // "linux/amd64"
	Source     string   // where it came from, for people: "debian bookworm, mmdebstrap"
	Reference  string   // of a pulled one: the repository, @ and the digest of what the registry had under the name
	Manifest   Digest   // of a pulled or imported one: its manifest, which its layers and its configuration are known by
	Init       InitMode
	InitPath   string            // the init program inside the image, for InitSystemd
	Entrypoint []string          // what a command is given to, as docker does
	Cmd        []string          // what runs, or what Entrypoint is given, when no command is
	Env        []string          // K=V
	Workdir    string            // where commands start; it is made when it is missing
	User       string            // name or uid, with :group or not
	StopSignal string            // what asks the main command to end: "SIGQUIT", "3", or "" for SIGTERM
	Labels     map[string]string // as the image has them, up to a cap
	SizeBytes  int64             // apparent size: the root's virtual size
	DiskBytes  int64             // what it takes on disk
	CreatedAt  time.Time
}

// Main returns the image's main command with what was asked for in place of the image's own arguments. It is empty when
// the image has none, or when its only one is the init program that is process 1 anyway.
func (i Image) Main(args []string) []string {
	command := append(slices.Clone(i.Entrypoint), i.Cmd...)
	if i.Init == InitSystemd && len(command) > 0 && IsInit(command[0]) {
		return args
	}
	if len(args) == 0 {
		return command
	}
	return append(slices.Clone(i.Entrypoint), args...)
}

// IsInit says whether a program is one that becomes process 1, by the names that it has.
func IsInit(program string) bool {
	switch path.Base(program) {
	case "systemd":
		return true
	case "init":
		return slices.Contains([]string{"init", "/init", "/sbin/init", "/usr/sbin/init", "/bin/init", "/usr/local/sbin/init"}, path.Clean(program))
	}
	return false
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
