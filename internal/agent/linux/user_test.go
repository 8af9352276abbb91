package linux

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestUser is docker's reading of a user, whose primary group is always among the supplementary ones.
func TestUser(t *testing.T) {
	t.Parallel()
	full, empty := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(full, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\n# app:x:7:7::/:\nbroken\napp:x:1000:100::/home/app:/bin/sh\n",
		"group":  "root:x:0:\nusers:x:100:app\nextra:x:2000:other,app\nlast:x:3000:app\nstaff:x:50:\n",
	} {
		if err := os.WriteFile(filepath.Join(full, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		root, user string
		uid, gid   uint32
		groups     []uint32
		home       string
	}{
		{full, "", 0, 0, []uint32{0}, "/root"},
		{full, "root", 0, 0, []uint32{0}, "/root"},
		{full, "app", 1000, 100, []uint32{100, 2000, 3000}, "/home/app"},
		{full, "1000", 1000, 100, []uint32{100, 2000, 3000}, "/home/app"},
		{full, "app:staff", 1000, 50, []uint32{50}, "/home/app"},
		{full, "app:77", 1000, 77, []uint32{77}, "/home/app"},
		{full, "4242", 4242, 0, []uint32{0}, "/"},
		{full, "4242:4343", 4242, 4343, []uint32{4343}, "/"},
		{empty, "", 0, 0, []uint32{0}, "/root"},
		{empty, "5:6", 5, 6, []uint32{6}, "/"},
	} {
		a, err := lookupUser(c.root, c.user)
		if err != nil || a.uid != c.uid || a.gid != c.gid || !slices.Equal(a.groups, c.groups) || a.home != c.home {
			t.Errorf("%q: %+v, %v", c.user, a, err)
		}
	}
	for _, wrong := range []string{"nobody-here", "app:no-group"} {
		if a, err := lookupUser(full, wrong); err == nil {
			t.Errorf("%q: %+v", wrong, a)
		}
	}
}
