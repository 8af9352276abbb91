//go:build crash

package storage

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"banger/internal/crash/crashtest"
	"banger/internal/model"
	"banger/internal/testenv"
)

// Environment of the test program run again as what is killed.
const (
	instanceVariable = "BANGER_TEST_INSTANCE"
	vmVariable       = "BANGER_TEST_VM"
	filesVariable    = "BANGER_TEST_FILES" // the base, a colon, the changes
)

func TestMain(m *testing.M) {
	if instance := os.Getenv(instanceVariable); instance != "" {
		os.Exit(attachAndDetach(New(Options{Instance: model.InstanceID(instance), UID: os.Getuid(), GID: os.Getgid(), Udev: testenv.Udev{}})))
	}
	os.Exit(m.Run())
}

// attachAndDetach passes every point and ends with what is no success in any case.
func attachAndDetach(h *Host) int {
	below, above, _ := strings.Cut(os.Getenv(filesVariable), ":")
	base, err := os.Open(below)
	cow, cerr := os.OpenFile(above, os.O_RDWR, 0)
	if errors.Join(err, cerr) != nil {
		return 2
	}
	id := model.VMID(os.Getenv(vmVariable))
	if _, err := h.Attach(context.Background(), id, base, cow); err != nil {
		return 3
	}
	if err := h.Detach(context.Background(), id); err != nil {
		return 4
	}
	return 5
}

// TestKilledAtAnyPoint requires that after a kill a snapshot can be attached, whatever is there of it, and that afterwards
// none of it is left.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	for _, point := range crashtest.Points(t, "storage.") {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			h, id := snapshots(t), model.NewVMID()
			base, cow := pair(t, t.TempDir())
			for _, attach := range []bool{true, false} {
				cmd := crashtest.Again(point, instanceVariable+"="+string(h.o.Instance), vmVariable+"="+string(id),
					filesVariable+"="+base.Name()+":"+cow.Name())
				if err := cmd.Run(); !testenv.Killed(cmd) {
					t.Fatalf("it was not killed there: %v", err)
				}
				if attach {
					s := attached(t, h, id, base, cow)
					if got, err := os.ReadFile(s.Node); err != nil || !bytes.Equal(got, bytes.Repeat([]byte("b"), baseBytes)) {
						t.Errorf("the snapshot is not the base's: %v", err)
					}
				}
				if err := h.Detach(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				if left, err := h.List(t.Context()); err != nil || len(left) != 0 {
					t.Errorf("left: %+v, %v", left, err)
				}
			}
		})
	}
}
