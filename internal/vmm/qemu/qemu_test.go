package qemu

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/procs"
	"banger/internal/testenv"
	"banger/internal/unixsocket"
	"banger/internal/vmm"
	"banger/internal/vmm/vmmtest"
)

// TestMain makes the test's program a daemon with one VM for the tests of crash points.
func TestMain(m *testing.M) {
	if what := os.Getenv(actVariable); what != "" {
		os.Exit(act(strings.Split(what, " ")))
	}
	goleak.VerifyTestMain(m)
}

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
			c := vmm.Config{VCPUs: min(2, runtime.NumCPU()), MemoryBytes: 512 * model.MiB, Kernel: kernel, Initrd: initrd}
			if strings.HasSuffix(t.Name(), "Console") {
				c.Cmdline = []string{"loglevel=7"} // the kernel's first line is what must not be missed
			}
			return c
		},
		Boot: 2 * time.Minute,
	})
}

// TestDevices boots with every kind of device, files with names that QEMU's own option syntax would trip over among them.
func TestDevices(t *testing.T) {
	kernel, initrd := guestFiles(t)
	img := testenv.NeedTool(t, "qemu-img")
	dir := filepath.Join(t.TempDir(), `odd, "name",id=x`)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	base, root, link := filepath.Join(dir, "base,x"), filepath.Join(dir, `root"x`), filepath.Join(dir, "link,y")
	if err := os.WriteFile(base, make([]byte, model.MiB), 0o400); err != nil {
		t.Fatal(err)
	}
	// Made over a placeholder: the real base is named by the driver, not by the file.
	if out, err := exec.CommandContext(t.Context(), img, "create", "-q", "-f", "qcow2", root, "1M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := vmm.Config{
		ID: model.NewVMID(), Dir: dir, VCPUs: 1, MemoryBytes: 256 * model.MiB, Kernel: kernel, Initrd: initrd,
		Drives: []model.Drive{
			{Path: root, Format: "qcow2", Backing: base, Serial: model.SerialRoot},
			{Path: base, Format: "raw", ReadOnly: true, Serial: model.SerialModules},
		},
		Link: network.Link{Kind: network.LinkSocket, Socket: link, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}},
	}
	lock, err := procs.TryLock(filepath.Join(dir, vmm.LockName))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	c.Lock = lock
	d := New(Options{Cache: t.TempDir()})
	m, err := d.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	defer m.Kill(context.Background())
	for range 2 { // the network may be restarted under the VM
		conn, err := dial(t.Context(), dir, filepath.Base(link))
		if err != nil {
			t.Fatal(err)
		}
		if _, pid, err := unixsocket.PeerCred(conn); err != nil || pid != m.Process().PID {
			t.Errorf("pid %d listens on the link, %v", pid, err)
		}
		conn.Close()
	}
	// A second VM over the same writable disk is refused, whatever its lock says.
	other := c
	other.ID, other.Dir, other.Link = model.NewVMID(), t.TempDir(), network.Link{}
	if m, err := d.Start(t.Context(), other); !errors.Is(err, model.ErrState) {
		t.Errorf("two VMs share a writable disk: %v, %v", m, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := m.Agent(ctx)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
