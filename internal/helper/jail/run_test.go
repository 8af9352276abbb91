package jail

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestArguments pins what the jailer and the VMM are given: no more than this, such as --no-seccomp, which would take the
// VMM's filters, or --enable-pci.
func TestArguments(t *testing.T) {
	t.Parallel()
	h := New(Options{Instance: "instance", UID: 1000, GID: 1000, Programs: "/programs", Dir: "/jails"})
	want := []string{
		"jailer", "--id", "1000-instance-abcdefghijklmnop", "--exec-file", "/programs/firecracker",
		"--uid", "2013265921", "--gid", "2013265921", "--chroot-base-dir", "/jails/1000-instance-abcdefghijklmnop",
		"--cgroup-version", "2", "--parent-cgroup", "banger/1000-instance-abcdefghijklmnop",
		"--", "--api-sock", "/vm/firecracker.api", "--level", "Info",
	}
	if diff := cmp.Diff(want, h.argv("abcdefghijklmnop", 2013265921)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
