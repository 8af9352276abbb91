package tarfilter

import (
	"archive/tar"
	"fmt"
	"strings"
)

// AttributePrefix begins the keys of extended attributes among the PAX records of an entry.
const AttributePrefix = "SCHILY.xattr."

const (
	maxXattrs    = 3 << 10 // of one file, below the ext4 writer's one block
	maxXattr     = 12      // in number: the writer puts more of them in an order in which the kernel does not find them
	maxXattrName = 255     // the kernel's limit, and the writer's length byte
)

// Attributes keeps the extended attributes that mean the same on any machine, as the ext4 writer takes them, and counts
// the others. Security labels belong to the host's policy, trusted attributes would steer a guest's overlays, and user
// ones exist on files and directories only.
func Attributes(kind byte, records map[string]string) (kept map[string]string, dropped int, err error) {
	total := 0
	for key, value := range records {
		attr, ok := strings.CutPrefix(key, AttributePrefix)
		if !ok {
			continue
		}
		if value, ok = attribute(kind, attr, value); !ok {
			dropped++
			continue
		}
		if kept == nil {
			kept = map[string]string{}
		}
		kept[key] = value
		total += len(attr) + len(value)
	}
	if total > maxXattrs || len(kept) > maxXattr {
		return nil, dropped, fmt.Errorf("more than %d extended attributes or %d bytes of them", maxXattr, maxXattrs)
	}
	return kept, dropped, nil
}

func attribute(kind byte, name, value string) (string, bool) {
	file, dir := kind == tar.TypeReg, kind == tar.TypeDir
	suffix, user := strings.CutPrefix(name, "user.")
	switch {
	case user:
		// Of other names e2fsprogs and older kernels compute a hash that differs from the writer's.
		return value, (file || dir) && suffix != "" && len(name) <= maxXattrName && strings.IndexFunc(name, notASCII) < 0
	case name == "security.capability":
		return value, file
	case name == "system.posix_acl_access" && kind != tar.TypeSymlink, name == "system.posix_acl_default" && dir:
		return diskACL(value)
	}
	return "", false
}

func notASCII(r rune) bool { return r > 0x7e || r < 0x20 }
