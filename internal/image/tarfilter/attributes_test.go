package tarfilter

import (
	"archive/tar"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

type aclLine struct {
	tag, perm uint16
	id        uint32
}

// written is an access control list in the form of user space (with all ids), or in ext4's.
func written(version uint32, ids bool, lines ...aclLine) string {
	b := binary.LittleEndian.AppendUint32(nil, version)
	for _, l := range lines {
		b = binary.LittleEndian.AppendUint16(b, l.tag)
		b = binary.LittleEndian.AppendUint16(b, l.perm)
		if ids || l.tag == aclUser || l.tag == aclGroup {
			b = binary.LittleEndian.AppendUint32(b, l.id)
		}
	}
	return string(b)
}

func TestAccessControlLists(t *testing.T) {
	t.Parallel()
	u, g, o, m := aclLine{aclUserObj, 6, 1<<32 - 1}, aclLine{aclGroupObj, 4, 1<<32 - 1}, aclLine{aclOther, 4, 1<<32 - 1}, aclLine{aclMask, 7, 1<<32 - 1}
	user, user2, group := aclLine{aclUser, 6, 1000}, aclLine{aclUser, 0, 1001}, aclLine{aclGroup, 7, 50}
	for _, c := range []struct {
		name  string
		lines []aclLine
		good  bool
	}{
		{"the mode's own", []aclLine{u, g, o}, true},
		{"with a mask", []aclLine{u, g, m, o}, true},
		{"users and groups", []aclLine{u, user, user2, g, group, m, o}, true},
		{"a user without a mask", []aclLine{u, user, g, o}, false},
		{"nothing", nil, false},
		{"no owner", []aclLine{g, o}, false},
		{"no others", []aclLine{u, g}, false},
		{"the owner twice", []aclLine{u, u, g, o}, false},
		{"out of order", []aclLine{u, o, g}, false},
		{"an unknown tag", []aclLine{u, {3, 4, 0}, g, o}, false},
		{"an unknown permission", []aclLine{{aclUserObj, 8, 0}, g, o}, false},
	} {
		got, ok := diskACL(written(2, true, c.lines...))
		if ok != c.good || (ok && got != written(1, false, c.lines...)) {
			t.Errorf("%s: %q, %t", c.name, got, ok)
		}
	}
	whole := written(2, true, u, g, o)
	for _, bad := range []string{"", "x", whole[:len(whole)-1], whole + "\x00", written(1, true, u, g, o), written(3, true, u, g, o)} {
		if got, ok := diskACL(bad); ok {
			t.Errorf("%q was taken as %q", bad, got)
		}
	}
}

func TestAttributes(t *testing.T) {
	t.Parallel()
	list := written(2, true, aclLine{aclUserObj, 6, 0}, aclLine{aclGroupObj, 4, 0}, aclLine{aclOther, 4, 0})
	for _, c := range []struct {
		name  string
		kinds string // that keep it, of those below
	}{
		{"user.a", "05"}, {"user.", ""}, {"user." + strings.Repeat("n", 250), "05"}, {"user." + strings.Repeat("n", 251), ""}, {"user.é", ""},
		{"security.capability", "0"}, {"security.selinux", ""}, {"trusted.overlay.opaque", ""}, {"system.posix_acl_access", "0356"},
		{"system.posix_acl_default", "5"}, {"system.posix_acl_accessory", ""}, {"", ""}, {"nonsense", ""},
	} {
		for _, kind := range []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeChar, tar.TypeFifo} {
			kept, dropped, err := Attributes(kind, map[string]string{AttributePrefix + c.name: list, "path": "x", "SCHILY.dev": "1"})
			want := strings.IndexByte(c.kinds, kind) >= 0
			if err != nil || (len(kept) == 1) != want || (dropped == 0) != want {
				t.Errorf("%.40q on a %c: kept %q, dropped %d, %v", c.name, kind, kept, dropped, err)
			}
		}
	}
	many := map[string]string{}
	for i := range maxXattr + 1 {
		many[fmt.Sprintf("%suser.%d", AttributePrefix, i)] = "v"
	}
	if _, _, err := Attributes(tar.TypeReg, many); err == nil {
		t.Error("too many were taken")
	}
	delete(many, AttributePrefix+"user.0")
	if kept, _, err := Attributes(tar.TypeReg, many); err != nil || len(kept) != maxXattr {
		t.Errorf("kept %d, %v", len(kept), err)
	}
}
