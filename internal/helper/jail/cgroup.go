package jail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/fsnotify/fsnotify"

	"banger/internal/model"
)

const (
	// vmmBytes is what a VMM may have beside its guest's memory: its program, twice, its queues, and the kernel's tables.
	vmmBytes = 128 * model.MiB
	// vmmTasks are a VMM's threads beside its vCPUs'.
	vmmTasks = 8
	// period is that of the processor's time, in microseconds. A VMM has one processor's worth beside its vCPUs'.
	period = 100_000
)

// limits are those of a VM, by the file of its cgroup.
func limits(s Spec) map[string]string {
	return map[string]string{
		"memory.max": strconv.FormatInt(s.MemoryBytes+vmmBytes, 10),
		"pids.max":   strconv.Itoa(s.VCPUs + vmmTasks),
		"cpu.max":    fmt.Sprintf("%d %d", (s.VCPUs+1)*period, period),
	}
}

// makeCgroup makes the VM's cgroup with its limits. The one above, which has no processes, has the controllers switched on:
// so nobody else, such as systemd, can switch them off further up, for the kernel refuses that.
func (h *Host) makeCgroup(id model.VMID, s Spec) error {
	for {
		if err := makeOpen(h.parent()); err != nil {
			return err
		}
		for _, at := range []string{h.o.Cgroups, h.parent()} {
			if err := h.switchOn(at); err != nil {
				return err
			}
		}
		// The last jail that ends takes the one above along.
		if err := os.Mkdir(h.cgroup(id), 0o755); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// Whatever the umask took: the owner finds the VMM by it.
	if err := os.Chmod(h.cgroup(id), 0o755); err != nil {
		return err
	}
	for name, value := range limits(s) {
		if controller, _, _ := strings.Cut(name, "."); !slices.Contains(h.o.Controllers, controller) {
			continue
		}
		if err := write(filepath.Join(h.cgroup(id), name), value); err != nil {
			return err
		}
	}
	return nil
}

// switchOn gives the children of a cgroup the controllers.
func (h *Host) switchOn(at string) error {
	for _, c := range h.o.Controllers {
		if err := write(filepath.Join(at, "cgroup.subtree_control"), "+"+c); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// write writes to a file of the kernel's, which is there.
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// processes are those in the VM's cgroup.
func (h *Host) processes(id model.VMID) ([]int, error) {
	text, err := os.ReadFile(filepath.Join(h.cgroup(id), "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil, nil
	}
	var pids []int
	for word := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// Process is the pid of the VM's VMM, 0 when none runs. Anybody may ask.
func (h *Host) Process(id model.VMID) (pid int, err error) {
	if err := h.check(id); err != nil {
		return 0, err
	}
	pids, err := h.processes(id)
	for _, pid := range pids {
		if !ofKernel(pid) {
			return pid, nil
		}
	}
	return 0, err
}

// ofKernel says whether a process is a thread of the kernel's: KVM has one in the group of each VMM. What cannot be seen is
// none.
func ofKernel(pid int) bool {
	const flags, kernelThread = 9 - 3, 0x00200000 // proc(5), from the third field on; PF_KTHREAD
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) <= flags {
		return false
	}
	value, err := strconv.ParseUint(fields[flags], 10, 64)
	return err == nil && value&kernelThread != 0
}

// Kill ends whatever is in the VM's cgroup at once, and returns when it has ended. That there is nothing is success.
func (h *Host) Kill(ctx context.Context, id model.VMID) error {
	if err := errors.Join(ctx.Err(), h.check(id)); err != nil {
		return model.HostErrorf(err, "cannot end the VMM of %s", id)
	}
	if err := h.kill(ctx, id); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
		return model.HostErrorf(err, "cannot end the VMM of %s", id)
	}
	return nil
}

func (h *Host) kill(ctx context.Context, id model.VMID) error {
	events := filepath.Join(h.cgroup(id), "cgroup.events")
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	if err := watcher.Add(events); err != nil {
		return err
	}
	if err := write(filepath.Join(h.cgroup(id), "cgroup.kill"), "1"); err != nil {
		return err
	}
	for {
		text, err := os.ReadFile(events)
		if err != nil {
			return err
		}
		if strings.Contains(string(text), "populated 0\n") {
			return nil
		}
		select {
		case <-watcher.Events:
		case err := <-watcher.Errors:
			return fmt.Errorf("cannot wait for its end: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("it has not ended yet: %w", ctx.Err())
		}
	}
}
