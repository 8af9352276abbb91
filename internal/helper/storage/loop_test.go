package storage

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/testenv"
)

// own is an installation of the test's own on the real host, whose loop devices are gone after it.
func own(t *testing.T) *Host {
	t.Helper()
	testenv.NeedRoot(t)
	if _, err := os.Stat(loopControl); err != nil {
		t.Skip("not run: needs loop devices")
	}
	return New(Options{Instance: model.NewInstanceID(), UID: os.Getuid(), GID: os.Getgid(), Udev: testenv.Udev{}})
}

func loopsOf(t *testing.T, h *Host, id model.VMID) map[string]loop {
	t.Helper()
	all, err := h.loops(func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]loop{}
	for _, l := range all {
		if l.id == id {
			found[l.part] = l
		}
	}
	return found
}

func attachLoop(t *testing.T, h *Host, id model.VMID, part string, f *os.File) *os.File {
	t.Helper()
	flags := uint32(unix.LO_FLAGS_AUTOCLEAR)
	if part == partBase {
		flags |= unix.LO_FLAGS_READ_ONLY
	}
	device, err := h.newLoop(f, h.label(id, part), flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	return device
}

func TestALoopDeviceLivesAsLongAsItIsOpen(t *testing.T) {
	t.Parallel()
	h, id := own(t), model.NewVMID()
	base, cow := file(t, 1<<20, os.O_RDONLY), file(t, 2<<20, os.O_RDWR)
	below, above := attachLoop(t, h, id, partBase, base), attachLoop(t, h, id, partCOW, cow)
	found := loopsOf(t, h, id)
	if len(found) != 2 || found[partBase].path != below.Name() || found[partCOW].path != above.Name() {
		t.Fatalf("found %+v", found)
	}
	if flags := found[partBase].info.Flags; flags&unix.LO_FLAGS_READ_ONLY == 0 || flags&unix.LO_FLAGS_AUTOCLEAR == 0 {
		t.Errorf("the base's flags are %#x", flags)
	}
	if same, err := found[partBase].over(base); err != nil || !same {
		t.Errorf("not over its own file: %v", err)
	}
	if same, err := found[partBase].over(cow); err != nil || same {
		t.Errorf("over another file: %v", err)
	}
	if all, err := h.List(t.Context()); err != nil || len(all) != 1 || all[0].BaseLoop != below.Name() || all[0].COWLoop != above.Name() || all[0].Name != "" {
		t.Errorf("listed %+v, %v", all, err)
	}
	if _, err := below.WriteAt([]byte("x"), 0); err == nil {
		t.Error("the base can be written to")
	}
	for _, f := range []*os.File{below, above} {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Detach(t.Context(), id); err != nil {
		t.Error(err)
	}
	if found := loopsOf(t, h, id); len(found) != 0 {
		t.Errorf("left: %+v", found)
	}
}

// TestDetachWaitsForWhatHoldsALoopDevice closes it while Detach waits, without Detach asking again and again.
func TestDetachWaitsForWhatHoldsALoopDevice(t *testing.T) {
	t.Parallel()
	h, id := own(t), model.NewVMID()
	device := attachLoop(t, h, id, partBase, file(t, 1<<20, os.O_RDONLY))
	held, err := os.Open(device.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	time.AfterFunc(300*time.Millisecond, func() { _ = held.Close() })
	if err := h.Detach(t.Context(), id); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < 300*time.Millisecond || took > patience/2 {
		t.Errorf("it took %v", took)
	}
	if found := loopsOf(t, h, id); len(found) != 0 {
		t.Errorf("left: %+v", found)
	}
}

func TestDetachTellsOfWhatIsHeldTooLong(t *testing.T) {
	t.Parallel()
	h, id := own(t), model.NewVMID()
	device := attachLoop(t, h, id, partCOW, file(t, 1<<20, os.O_RDWR))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := h.Detach(ctx, id); !errors.Is(err, model.ErrTimeout) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.Detach(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// TestWhatIsNotOursStays has loop devices of another VM, of another installation and of nobody's.
func TestWhatIsNotOursStays(t *testing.T) {
	t.Parallel()
	h, id := own(t), model.NewVMID()
	other := New(Options{Instance: model.NewInstanceID(), UID: os.Getuid(), Udev: testenv.Udev{}})
	attachLoop(t, h, id, partBase, file(t, 1<<20, os.O_RDONLY))
	foreign := map[string]*os.File{}
	for name, label := range map[string]string{
		"another VM's":           h.label(model.NewVMID(), partBase),
		"another installation's": other.label(id, partBase),
		"nobody's":               "notes",
		"a look-alike":           h.label(id, partBase) + "-2",
	} {
		device, err := h.newLoop(file(t, 1<<20, os.O_RDONLY), label, unix.LO_FLAGS_AUTOCLEAR|unix.LO_FLAGS_READ_ONLY)
		if err != nil {
			t.Fatal(err)
		}
		defer device.Close()
		foreign[name] = device
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_ = h.Detach(ctx, id) // the VM's own is held, too
	for name, device := range foreign {
		if info, err := unix.IoctlLoopGetStatus64(int(device.Fd())); err != nil || info.Flags&unix.LO_FLAGS_READ_ONLY == 0 {
			t.Errorf("%s loop device was freed: %v", name, err)
		}
	}
	if all, err := h.List(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("listed %+v, %v", all, err)
	}
}

func TestManyAskForLoopDevicesAtOnce(t *testing.T) {
	t.Parallel()
	h := own(t)
	base := file(t, 1<<20, os.O_RDONLY)
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			id := model.NewVMID()
			device, err := h.newLoop(base, h.label(id, partBase), unix.LO_FLAGS_AUTOCLEAR|unix.LO_FLAGS_READ_ONLY)
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(device.Close(), h.Detach(t.Context(), id)); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if all, err := h.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("left: %+v, %v", all, err)
	}
}
