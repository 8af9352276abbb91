//go:build crash

package jail

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/crash/crashtest"
	"banger/internal/model"
	"banger/internal/testenv"
)

// A process of its own is killed at each point of a start and of a removal: what is there is found and taken away, and a VM
// can be started again. What a killed start leaves can be ended: it is in its cgroup, or died with it.

func (w *world) act(id model.VMID, verb, point string) *exec.Cmd {
	w.t.Helper()
	cmd := crashtest.Again(point,
		actVariable+"="+strings.Join([]string{verb, string(w.o.Instance), string(id), w.o.Programs, w.o.Dir, w.o.Cgroups, strconv.Itoa(int(NetworkWire))}, " "))
	cmd.ExtraFiles = []*os.File{w.file(0, os.O_RDWR), w.fifo(), w.file(1<<20, os.O_RDWR)}
	out, _ := cmd.CombinedOutput()
	if !testenv.Killed(cmd) {
		w.t.Errorf("%s was not killed at %s: %v, %s", verb, point, cmd.ProcessState, out)
	}
	return cmd
}

// TestKilledWhileATapIsOpened disturbs no VMM, and the next one gets the tap.
func TestKilledWhileATapIsOpened(t *testing.T) {
	t.Parallel()
	w, id := newWorld(t, 12345), model.NewVMID()
	vm, err := w.start(id, w.tapped())
	if err != nil {
		t.Fatal(err)
	}
	for _, point := range crashtest.Points(t, "jail.tap.") {
		w.act(id, "tap", point)
		socket, err := w.OpenTap(t.Context(), id)
		if err != nil {
			t.Errorf("%s: %v", point, err)
			continue
		}
		socket.Close()
		if got := ask(t, vm, "make /vm/x"); got != "ok" {
			t.Errorf("%s: it says %q", point, got)
		}
	}
}

func TestKilledAtEachPoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 12345)
	for _, point := range crashtest.Points(t, "jail.start.", "jail.remove.") {
		verb := "start"
		if strings.HasPrefix(point, "jail.remove.") {
			verb = "remove"
		}
		id := model.NewVMID()
		port := w.attach(id, 1)
		if verb == "remove" {
			if _, err := w.start(id, w.wired()); err != nil {
				t.Fatalf("%s: %v", point, err)
			}
		}
		w.act(id, verb, point)
		if point == "jail.start.stock" { // the next one gives the owner what is half made
			if err := w.makeStock(); err != nil {
				t.Errorf("%s: %v", point, err)
			}
			w.stockIsItsOwners()
		}
		if err := w.Remove(t.Context(), id); err != nil {
			t.Errorf("%s: %v", point, err)
		}
		w.nothing()
		w.noProcess(point, id)
		w.detach(id, port)
		port = w.attach(id, 1)
		if _, err := w.start(id, w.wired()); err != nil {
			t.Errorf("%s: again: %v", point, err)
		}
		w.stockIsItsOwners()
		if err := w.Remove(t.Context(), id); err != nil {
			t.Errorf("%s: %v", point, err)
		}
		w.nothing()
		w.detach(id, port)
	}
}

// noProcess fails when a process runs with the name of the VM's jail in its arguments: a jailer or a VMM.
func (w *world) noProcess(point string, id model.VMID) {
	w.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, path := range all {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "--id\x00"+w.name(id)) && unix.Kill(pid, 0) == nil {
			w.t.Errorf("%s: process %d is left: %q", point, pid, text)
		}
	}
}
