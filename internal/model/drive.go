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

// The joins: one writable drive (SerialRoot), or a read-only one below and a writable one above (SerialRoot, SerialUpper).
const (
	JoinNone Join = iota
	JoinOverlay
)
