package linux

import (
	"os"
	"path/filepath"
	"testing"
)

// TestNthDrive looks for drives among devices that the kernel numbered in the machine's order, which is neither that of
// their names as text nor that in which they became ready.
func TestNthDrive(t *testing.T) {
	t.Parallel()
	bus := t.TempDir()
	for name, d := range map[string]struct{ kind, block string }{
		"virtio0": {"0x0004", ""}, "virtio2": {"0x0002", "zero"}, "virtio10": {"0x0002", "null"}, "virtio9": {"0x0002", "no-such-device"},
		"virtio11": {"0x0002", ""}, "virtio3": {"0x0013", "urandom"}, "other": {"0x0002", "full"},
	} {
		dir := filepath.Join(bus, name)
		if err := os.MkdirAll(filepath.Join(dir, "block", d.block), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "device"), []byte(d.kind+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"/dev/zero", "", "/dev/null", "", ""} {
		got, ok := nthDrive(bus, i)
		if ok != (want != "") || ok && got != want {
			t.Errorf("drive %d is %q, %v; want %q", i, got, ok, want)
		}
	}
	if _, ok := nthDrive(filepath.Join(bus, "absent"), 0); ok {
		t.Error("there is a drive without a bus")
	}
}
