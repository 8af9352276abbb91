package testenv

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// quickDirRoom is the least free space of a disk in memory that is worked on.
const quickDirRoom = 1 << 30

// QuickDir returns a temporary directory with a short path, for what syncs much: in memory where there is room. It is not
// for tests of what a disk does.
func QuickDir(t testing.TB) string {
	t.Helper()
	parent := "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(parent, &st); err != nil || st.Type != unix.TMPFS_MAGIC || int64(st.Bavail)*st.Bsize < quickDirRoom {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "banger") //nolint:usetesting // that one is long, and on the disk
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
