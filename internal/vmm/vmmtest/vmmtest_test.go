package vmmtest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm"
	"banger/internal/vmm/vmmtest"
)

func TestMain(m *testing.M) {
	vmmtest.RunIfFake()
	goleak.VerifyTestMain(m)
}

// config is a VM whose files are empty: the fake only insists that they are there.
func config(t *testing.T) vmm.Config {
	t.Helper()
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return vmm.Config{
		VCPUs: 1, MemoryBytes: model.MinMemoryBytes, Kernel: file("vmlinux"), Initrd: file("initrd"),
		Drives: []model.Drive{{Path: file("root"), Format: "raw", Serial: model.SerialRoot}},
	}
}

func TestFake(t *testing.T) {
	vmmtest.Run(t, vmmtest.Harness{
		New:     func(*testing.T) vmm.Driver { return vmmtest.NewFake(vmmtest.FakeOptions{Version: "test"}) },
		Config:  config,
		Guest:   &guest.Config{Hostname: "fake"},
		Console: "fake agent listens",
	})
}

// start runs one fake VM with a behaviour.
func start(t *testing.T, b vmmtest.Behaviour) (vmm.Machine, error) {
	t.Helper()
	c := config(t)
	c.ID, c.Dir = model.NewVMID(), t.TempDir()
	lock, err := procs.TryLock(filepath.Join(c.Dir, vmm.LockName))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	c.Lock = lock
	m, err := vmmtest.NewFake(vmmtest.FakeOptions{Behaviour: func(vmm.Config) vmmtest.Behaviour { return b }}).Start(t.Context(), c)
	if err == nil {
		t.Cleanup(func() {
			m.Kill(context.Background())
			m.Close()
		})
	}
	return m, err
}

func TestFaultsOfTheVMM(t *testing.T) {
	t.Parallel()
	if _, err := start(t, vmmtest.ExitAtOnce); !errors.Is(err, model.ErrUnavailable) {
		t.Errorf("a VMM that exits at once starts: %v", err)
	}
	for b, want := range map[vmmtest.Behaviour]model.ExitReason{
		vmmtest.PanicAtBoot: model.ExitPanic, vmmtest.ResetAtBoot: model.ExitReset,
	} {
		m, err := start(t, b)
		if err != nil {
			t.Errorf("%s: %v", b, err)
			continue
		}
		<-m.Done()
		if got := m.Exit().Reason; got != want {
			t.Errorf("%s: ended with %v", b, m.Exit())
		}
	}
}

func TestFaultsOfTheGuest(t *testing.T) {
	t.Parallel()
	for _, b := range []vmmtest.Behaviour{vmmtest.NeverReady, vmmtest.Rubbish, vmmtest.Flood} {
		t.Run(string(b), func(t *testing.T) {
			t.Parallel()
			m, err := start(t, b)
			if err != nil {
				t.Fatal(err)
			}
			// Long enough for an answer, were there one; the call must end with it.
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			conn, err := m.Agent(ctx)
			if err == nil {
				var g *guest.Guest
				if g, err = guest.Connect(ctx, conn); err == nil {
					g.Close()
				}
			}
			if err == nil {
				t.Error("it is taken for an agent")
			}
			if err := m.Kill(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
