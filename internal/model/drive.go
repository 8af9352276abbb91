package model

// Drive is one block device that a VMM gives its guest. The guest finds it by Serial; no device letter means anything.
type Drive struct {
	Path     string // file or block device on the host
	Format   string // "raw" or "qcow2"; always explicit, never probed
	Backing  string // the raw read-only file below a qcow2, else ""
	ReadOnly bool
	Serial   string // at most 20 characters of [a-z0-9-] (virtio-blk's limit)
}

// Serials of a VM's drives.
const (
	SerialRoot    = "root"
	SerialUpper   = "upper" // the writable layer of an overlay root
	SerialWork    = "work"
	SerialModules = "modules"
)

// Join is how the agent makes the root file system out of the root disk's drives.
type Join int

// The joins: one writable drive, or a read-only one below and a writable one above, with overlayfs.
const (
	JoinNone Join = iota
	JoinOverlay
)

// Serials returns those of the drives that the join takes, in its order: from the bottom to the top.
func (j Join) Serials() []string {
	switch j {
	case JoinNone:
		return []string{SerialRoot}
	case JoinOverlay:
		return []string{SerialRoot, SerialUpper}
	}
	return nil
}
