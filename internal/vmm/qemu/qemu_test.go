package qemu

import (
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banger/internal/model"
	"banger/internal/testenv"
	"banger/internal/vmm"
	"banger/internal/vmm/vmmtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guestFiles names the kernel and the initramfs of the tests that boot a real guest; the end-to-end tier sets them.
func guestFiles(t *testing.T) (kernel, initrd string) {
	t.Helper()
	testenv.NeedTool(t, program)
	kernel, initrd = os.Getenv("BANGER_TEST_KERNEL"), os.Getenv("BANGER_TEST_INITRD")
	if kernel == "" || initrd == "" {
		t.Skip("not run: needs a guest: BANGER_TEST_KERNEL and BANGER_TEST_INITRD, which make test-e2e sets")
	}
	return kernel, initrd
}

// TestSuite holds the driver to its contract with real guests.
func TestSuite(t *testing.T) {
	kernel, initrd := guestFiles(t)
	cache := t.TempDir()
	vmmtest.Run(t, vmmtest.Harness{
		New:     func(*testing.T) vmm.Driver { return New(Options{Cache: cache}) },
		Console: "Linux version",
		Config: func(t *testing.T) vmm.Config {
			c := vmm.Config{VCPUs: 2, MemoryBytes: 512 * model.MiB, Kernel: kernel, Initrd: initrd}
			if strings.HasSuffix(t.Name(), "Console") {
				c.Cmdline = []string{"loglevel=7"} // the kernel's first line is what must not be missed
			}
			return c
		},
		Boot: 2 * time.Minute,
	})
}
