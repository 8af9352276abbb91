// Package jail runs Firecracker in its jailer: the verbs of VMMs that only root can do.
//
// They are Start, OpenTap, Kill, Remove and List. Start takes a VM's id and slot, what the VM is to have, and open descriptors, never
// a path or a name. The two programs come from a directory that only root can write to. Every name on the host is worked out
// of the installation's id and the VM's, so nothing needs to be remembered: after a crash, what is there is found by its
// name, and Remove takes it away.
//
// A jail is: a cgroup with limits; a user id of the VM's own; loop devices over the files that are its drives; a directory
// for sockets, which its owner and the VMM can enter and nobody else; and a root file system in memory, in a mount namespace
// of the VMM's own, with the VMM's program, its devices and that directory, at Inside, in it. The latter ends with the
// VMM, and so does a network namespace of its own, in which there is nothing; or a tap, of which
// its owner is given a packet socket; or a tap and one end of a wire whose other end is the VM's port on the host's bridge.
//
// Beside the jails is the owner's Stock, of what VMMs in them are started from.
package jail

import (
	"path/filepath"
	"strconv"
	"strings"

	"banger/internal/helper/storage"
	"banger/internal/model"
)

// What the VMM sees.
const (
	Inside = "/vm" // the directory that it shares with its owner
	Socket = "firecracker.api"
)

// DrivePath is where the VMM sees a drive.
func DrivePath(n int) string { return "/disks/" + strconv.Itoa(n) }

// Options are what a Host needs.
type Options struct {
	Instance model.InstanceID
	UID, GID int    // of whom the files must be, and who may enter the directory for sockets
	Programs string // the directory of firecracker and jailer; "" for that of the host

	Udev storage.Rules // for the drives' loop devices

	Dir         string   // the directory of all jails; "" for that of the host
	Cgroups     string   // where cgroup v2 is mounted; "" for where it is on a host with nothing else
	Controllers []string // whose limits are set; nil for all
}

// The host's own.
const (
	Programs = "/usr/local/lib/banger"
	Dir      = "/run/banger/jail"
	cgroups  = "/sys/fs/cgroup"
	parent   = "banger" // the cgroup of all jails
)

// Host is this host, as one installation may use it. It keeps nothing: any number of them are the same.
type Host struct {
	o     Options
	disks *storage.Host
}

// New returns a Host. It touches nothing.
func New(o Options) *Host {
	o.Programs, o.Dir, o.Cgroups = or(o.Programs, Programs), or(o.Dir, Dir), or(o.Cgroups, cgroups)
	if o.Controllers == nil {
		o.Controllers = []string{"cpu", "memory", "pids"}
	}
	return &Host{o, storage.New(storage.Options{Instance: o.Instance, UID: o.UID, GID: o.GID, Udev: o.Udev})}
}

func or(path, otherwise string) string {
	if path == "" {
		return otherwise
	}
	return path
}

// VM is what stands for a VM's jail on this host. Each part but the id may be missing, after a crash.
type VM struct {
	ID     model.VMID
	Dir    string   // for sockets
	Cgroup string   // its directory
	UID    int      // the VMM's; its group id, too
	PID    int      // the VMM's, 0 for none
	Loops  []string // of its drives
}

func (h *Host) check(id model.VMID) error {
	if !h.o.Instance.Valid() || !id.Valid() {
		return model.Errorf(model.ErrInvalid, "cannot name the jail of installation %q and VM %q", h.o.Instance, id)
	}
	return nil
}

// name is that of the VM's jail. The uid of an ordinary user is in it: the installation's id is the caller's word only.
func (h *Host) name(id model.VMID) string { return h.prefix() + string(id) }

func (h *Host) prefix() string {
	if h.o.UID == 0 {
		return string(h.o.Instance) + "-"
	}
	return strconv.Itoa(h.o.UID) + "-" + string(h.o.Instance) + "-"
}

// ownerOfName is the VM whose jail has the name, if it is one of this installation's.
func (h *Host) ownerOfName(name string) (model.VMID, bool) {
	rest, ours := strings.CutPrefix(name, h.prefix())
	id := model.VMID(rest)
	return id, ours && id.Valid()
}

// Path is the directory that the VM's VMM shares with its owner.
func (h *Host) Path(id model.VMID) string { return filepath.Join(h.o.Dir, h.name(id)) }

func (h *Host) cgroup(id model.VMID) string { return filepath.Join(h.parent(), h.name(id)) }

func (h *Host) parent() string { return filepath.Join(h.o.Cgroups, parent) }
