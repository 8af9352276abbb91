package firecracker

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banger/internal/procs"
	"banger/internal/vmm"
)

// TestAnEndBeforeTheConsoleIsOpened fails the start, with what Firecracker says: nobody opens that console any more.
func TestAnEndBeforeTheConsoleIsOpened(t *testing.T) {
	t.Parallel()
	c := sample(t, t.TempDir())
	lock, err := procs.TryLock(filepath.Join(c.Dir, vmm.LockName))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	c.Lock = lock
	binary := script(t, `[ "$1" = --version ] && echo Firecracker v1.16.1 && exit; echo it says why; exit 1`)
	ended := make(chan error, 1)
	go func() {
		_, err := New(Options{Binary: binary, Console: true, Cache: t.TempDir(), KVM: anyKVM(t)}).Start(t.Context(), c)
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "it says why") {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the start does not end")
	}
}
