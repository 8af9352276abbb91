package firecracker

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"banger/internal/helper/jail"
	"banger/internal/model"
	"banger/internal/testenv"
	"banger/internal/udev"
	"banger/internal/vmm"
)

// TestJails holds the driver to its contract with real guests in real jails, of which it leaves nothing.
func TestJails(t *testing.T) {
	testenv.NeedRoot(t)
	h := guests(t)
	dir := testenv.QuickDir(t)
	for _, name := range []string{jail.Firecracker, jail.Jailer} { // where nobody else can write
		text, err := os.ReadFile(testenv.NeedTool(t, name))
		if err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), text, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	instance := model.NewInstanceID()
	rules := udev.New(instance)
	j := jail.New(jail.Options{Instance: instance, Programs: dir, Udev: rules})
	if problem := j.Problem(); problem != "" {
		t.Fatal(problem)
	}
	config := h.Config
	var slot atomic.Int32
	h.Config = func(t *testing.T) vmm.Config {
		c := config(t)
		c.Slot = int(slot.Add(1))
		return c
	}
	h.Rounds = 1
	o := Options{Binary: filepath.Join(dir, program), Cache: t.TempDir(), Jail: j}
	suite(t, o, h)
	d := New(o)
	if left := copiesIn(t, &d.stock); len(left) != 2 {
		t.Errorf("copies: %v", left)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(j.Stock()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", j.Stock(), err)
	}
	if err := rules.Close(); err != nil {
		t.Error(err)
	}
	if all, err := j.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("left: %+v, %v", all, err)
	}
}
