//go:build crash

package jail

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/model"
)

// A process of its own is killed at each point of a start and of a removal: what is there is found and taken away, and a VM
// can be started again. What a killed start leaves can be ended: it is in its cgroup, or died with it.

// actVariable is the environment variable that makes the test program start or remove a jail; its arguments follow.
const actVariable = "BANGER_TEST_JAIL"

func TestMain(m *testing.M) {
	if what := os.Getenv(actVariable); what != "" {
		os.Exit(act(strings.Split(what, " ")))
	}
	os.Exit(m.Run())
}

// act is given a verb, the installation, the VM, the directories of programs, jails and cgroups, and the two descriptors.
func act(args []string) int {
	h := New(Options{Instance: model.InstanceID(args[1]), UID: 12345, Programs: args[3], Dir: args[4], Cgroups: args[5], Controllers: []string{}})
	id := model.VMID(args[2])
	var err error
	if args[0] == "remove" {
		err = h.Remove(context.Background(), id)
	} else {
		s := Spec{Slot: 1, VCPUs: 1, MemoryBytes: 256 * model.MiB, Drives: []Drive{{File: os.NewFile(5, "disk")}}}
		_, err = h.Start(context.Background(), id, s, os.NewFile(3, "lock"), os.NewFile(4, "log"))
	}
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	return 0
}

func (w *world) act(id model.VMID, verb, point string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crash.Env+"="+point,
		actVariable+"="+strings.Join([]string{verb, string(w.o.Instance), string(id), w.o.Programs, w.o.Dir, w.o.Cgroups}, " "))
	cmd.ExtraFiles = []*os.File{w.file(0, os.O_RDWR), w.fifo(), w.file(1<<20, os.O_RDWR)}
	out, _ := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		w.t.Errorf("%s was not killed at %s: %v, %s", verb, point, cmd.ProcessState, out)
	}
	return cmd
}

func TestKilledAtEachPoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 12345)
	for _, point := range crash.Points() {
		verb := ""
		switch {
		case strings.HasPrefix(point, "jail.start."):
			verb = "start"
		case strings.HasPrefix(point, "jail.remove."):
			verb = "remove"
		default:
			continue
		}
		id := model.NewVMID()
		if verb == "remove" {
			if _, err := w.start(id, w.spec()); err != nil {
				t.Fatalf("%s: %v", point, err)
			}
		}
		w.act(id, verb, point)
		if err := w.Remove(t.Context(), id); err != nil {
			t.Errorf("%s: %v", point, err)
		}
		w.nothing()
		w.noProcess(point, id)
		if _, err := w.start(id, w.spec()); err != nil {
			t.Errorf("%s: again: %v", point, err)
		}
		if err := w.Remove(t.Context(), id); err != nil {
			t.Errorf("%s: %v", point, err)
		}
		w.nothing()
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
