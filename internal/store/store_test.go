package store

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banger/internal/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var moment = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)

func digest(n int) model.Digest { return model.Digest(fmt.Sprintf("sha256:%064x", n)) }

// open returns a store in a fresh directory with image 1 and kernel 2 in it.
func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "banger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.InsertImage(t.Context(), model.Image{Digest: digest(1), Name: "debian", CreatedAt: moment}); err != nil {
		t.Fatal(err)
	}
	if err := s.InsertKernel(t.Context(), model.Kernel{Digest: digest(2), Name: "debian-cloud", CreatedAt: moment}); err != nil {
		t.Fatal(err)
	}
	return s
}

func newVM(name string) model.VM {
	return model.VM{
		ID: model.NewVMID(), Name: name, State: model.StateCreating, Image: digest(1), Kernel: digest(2),
		Spec: model.Spec{Image: "debian", Kernel: "debian-cloud", VCPUs: 2, MemoryBytes: model.GiB, DiskBytes: 8 * model.GiB, Network: "none", Env: []string{"A=b c"}, User: "root"},
		VMM:  "qemu", RootDisk: "qcow2", Network: "none", LastError: "because", Generation: 7, Leased: true,
		CreatedAt: moment, StartedAt: moment.Add(1), UsedAt: moment.Add(2),
	}
}

func create(t testing.TB, s *Store, name string) model.VM {
	t.Helper()
	vm, err := s.CreateVM(t.Context(), newVM(name))
	if err != nil {
		t.Fatal(err)
	}
	return vm
}
