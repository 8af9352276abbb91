package image

import (
	"os"

	"banger/internal/hosttool"
)

// Tools are what the making of the default image and the default kernel takes from the host. Tests give others.
type Tools struct {
	// Find returns the path of a program, or an error that names pkg, which has it.
	Find func(name, pkg string) (string, error)
	// Keyring is the file with the keys that sign Debian's archive.
	Keyring string
	// Owners says whether an ordinary user can give files the owners of a whole system. Their bootstraps lie where other
	// uids can pass. It is nil for root, who needs neither.
	Owners func() error
}

// HostTools are those of this host, for the user that this process runs as.
func HostTools() Tools {
	t := Tools{Find: hosttool.Find, Keyring: debianKeyring}
	if os.Geteuid() != 0 {
		t.Owners = checkUnshare
	}
	return t
}
