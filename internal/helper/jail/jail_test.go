package jail

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/testenv"
)

// world is this host with jails of the test's own: the jailer is the real one, and what it runs is testdata/vmm.
type world struct {
	*Host
	t   *testing.T
	log *os.File // the reading end
}

var build sync.Mutex

// programs makes a directory with both programs, which nobody but root can write to.
func programs(t *testing.T) string {
	t.Helper()
	build.Lock()
	defer build.Unlock()
	jailer := testenv.NeedTool(t, Jailer)
	dir := testenv.QuickDir(t)
	testenv.Program(t, "testdata/vmm", filepath.Join(dir, Firecracker))
	text, err := os.ReadFile(jailer)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, Jailer), text, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// cgroupsHere is where this host has cgroup v2, with the controllers that it has.
func cgroupsHere(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{cgroups, filepath.Join(cgroups, "unified")} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil {
			probe := filepath.Join(dir, "banger-test-probe-"+strconv.Itoa(os.Getpid()))
			if err := os.Mkdir(probe, 0o755); err != nil {
				continue
			}
			_, err := os.Stat(filepath.Join(probe, "cgroup.kill"))
			_ = os.Remove(probe)
			if err == nil {
				return dir
			}
		}
	}
	t.Skip("not run: needs a cgroup v2 that can be written to")
	return ""
}

func newWorld(t *testing.T, uid int) *world {
	t.Helper()
	testenv.NeedRoot(t)
	dir := testenv.QuickDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &world{Host: New(Options{
		Instance: model.NewInstanceID(), UID: uid, GID: uid, Programs: programs(t), Dir: filepath.Join(dir, "jail"),
		Cgroups: cgroupsHere(t), Controllers: []string{}, Udev: testenv.Udev{},
	}), t: t}
}

// file makes a file of the world's owner, opened so.
func (w *world) file(size int64, flags int) *os.File {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("what is in it"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := errors.Join(os.Truncate(path, size), os.Chown(path, w.o.UID, w.o.GID)); err != nil {
		w.t.Fatal(err)
	}
	return open(w.t, path, flags)
}

func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// fifo makes a log.
func (w *world) fifo() *os.File {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "log")
	if err := errors.Join(unix.Mkfifo(path, 0o600), os.Chown(path, w.o.UID, w.o.GID)); err != nil {
		w.t.Fatal(err)
	}
	f := open(w.t, path, os.O_RDWR|unix.O_NONBLOCK)
	w.log = open(w.t, path, os.O_RDONLY|unix.O_NONBLOCK)
	return f
}

func (w *world) spec() Spec {
	return Spec{Slot: 1, VCPUs: 1, MemoryBytes: 256 * model.MiB, Drives: []Drive{
		{File: w.file(1<<20, os.O_RDONLY), ReadOnly: true}, {File: w.file(2<<20, os.O_RDWR)},
	}}
}

func (w *world) start(id model.VMID, s Spec) (VM, error) {
	w.t.Helper()
	lock := w.file(0, os.O_RDWR)
	vm, err := w.Start(w.t.Context(), id, s, lock, w.fifo())
	w.t.Cleanup(func() {
		if err := w.Remove(context.Background(), id); err != nil {
			w.t.Error(err)
		}
	})
	return vm, err
}

// dial connects to the VMM, which listens a moment after its socket is there.
func dial(t *testing.T, vm VM) net.Conn {
	t.Helper()
	for {
		conn, err := net.Dial("unix", filepath.Join(vm.Dir, Socket))
		if err == nil {
			return conn
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

// ask has the VMM do something.
func ask(t *testing.T, vm VM, line string) string {
	t.Helper()
	conn := dial(t, vm)
	defer conn.Close()
	fmt.Fprintln(conn, line)
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	text, err := strconv.Unquote(strings.TrimSpace(answer))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestWhatAVMMSees(t *testing.T) {
	t.Parallel()
	w, id := newWorld(t, 12345), model.NewVMID()
	s := w.spec()
	vm, err := w.start(id, s)
	if err != nil {
		t.Fatalf("%v; it says: %s", err, said(w))
	}
	for line, want := range map[string]string{
		"who":             fmt.Sprintf("%[1]d %[1]d %[1]d %[1]dgroups []", vm.UID),
		"network":         "lo",
		"read /disks/0":   "what is in it\x00\x00\x00",
		"write /disks/1":  "ok",
		"make /vm/x":      "ok",
		"write /dev/null": "ok",
	} {
		if got := ask(t, vm, line); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	if got := ask(t, vm, "write /disks/0"); !strings.HasPrefix(got, "error") {
		t.Errorf("it wrote to what is read-only: %q", got)
	}
	got := ask(t, vm, "list")
	for path := range strings.FieldsSeq(got) {
		switch path {
		case "/", "/dev", "/dev/net", "/dev/net/tun", "/dev/kvm", "/dev/urandom", "/dev/null", "/dev/userfaultfd", "/disks", "/disks/0", "/disks/1",
			"/firecracker", "/firecracker.pid", "/run", "/vm", "/vm/firecracker.api", "/vm/x":
		default:
			t.Errorf("it sees %s", path)
		}
	}
	work := make([]byte, 4)
	if _, err := s.Drives[1].File.ReadAt(work, 0); err != nil || string(work) != "wwww" {
		t.Errorf("its disk holds %q, %v", work, err)
	}
	if len(filepath.Join(vm.Dir, "firecracker.vsock")) >= 108 {
		t.Errorf("%s is too long for a socket's path", vm.Dir)
	}
	w.heldByVMM(vm, id)
	w.onlyForItsOwner(vm)
	if _, err := w.Start(t.Context(), id, s, w.file(0, os.O_RDWR), w.fifo()); !errors.Is(err, model.ErrState) {
		t.Errorf("a second one: %v", err)
	}
	all, err := w.List(t.Context())
	if err != nil || len(all) != 1 || all[0].PID != vm.PID || all[0].UID != vm.UID || len(all[0].Loops) != 2 || all[0].Dir != vm.Dir {
		t.Errorf("listed: %+v, %v", all, err)
	}
}

// heldByVMM: its standard input is the lock, and it is in its cgroup.
func (w *world) heldByVMM(vm VM, id model.VMID) {
	w.t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(vm.PID) + "/status")
	if err != nil || !strings.Contains(string(status), "CapEff:\t0000000000000000") || !strings.Contains(string(status), "CapPrm:\t0000000000000000") {
		w.t.Errorf("%v: %s", err, status)
	}
	cgroup, err := os.ReadFile("/proc/" + strconv.Itoa(vm.PID) + "/cgroup")
	if err != nil || !strings.Contains(string(cgroup), "0::/banger/"+w.name(id)+"\n") {
		w.t.Errorf("%v: %s", err, cgroup)
	}
	if pid, err := w.Process(id); err != nil || pid != vm.PID {
		w.t.Errorf("process %d, %v", pid, err)
	}
}

// onlyForItsOwner: the owner can enter the directory and talk to the VMM; another user cannot, nor the VMM of another VM.
func (w *world) onlyForItsOwner(vm VM) {
	w.t.Helper()
	for uid, can := range map[int]bool{w.o.UID: true, w.o.UID + 1: false, vm.UID + 1: false} {
		cmd := exec.Command("/bin/sh", "-c", "[ -w "+filepath.Join(vm.Dir, Socket)+" ]")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		if err := cmd.Run(); (err == nil) != can {
			w.t.Errorf("the user %d: %v", uid, err)
		}
	}
}

func said(w *world) string {
	text := make([]byte, 4096)
	_ = w.log.SetReadDeadline(time.Now().Add(time.Second))
	n, _ := w.log.Read(text)
	return string(text[:n])
}

func TestKillAndRemove(t *testing.T) {
	t.Parallel()
	w, id := newWorld(t, 12345), model.NewVMID()
	vm, err := w.start(id, w.spec())
	if err != nil {
		t.Fatalf("%v; it says: %s", err, said(w))
	}
	if got := ask(t, vm, "dirs /vm/deep"); got != "ok" && !strings.Contains(got, "permission denied") {
		t.Error(got)
	}
	if err := w.Kill(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if pid, err := w.Process(id); err != nil || pid != 0 {
		t.Errorf("process %d, %v", pid, err)
	}
	for range 2 {
		if err := errors.Join(w.Remove(t.Context(), id), w.Kill(t.Context(), id)); err != nil {
			t.Error(err)
		}
	}
	w.nothing()
}

// nothing fails unless nothing is left.
func (w *world) nothing() {
	w.t.Helper()
	if all, err := w.List(w.t.Context()); err != nil || len(all) != 0 {
		w.t.Errorf("left: %+v, %v", all, err)
	}
	for _, dir := range []string{w.o.Dir, w.stocks()} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			w.t.Errorf("%s is there: %v", dir, err)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || bytes.Contains(mounts, []byte(w.o.Dir)) {
		w.t.Errorf("mounts: %v, %s", err, mounts)
	}
}

func TestAnEndLeavesNoProcess(t *testing.T) {
	t.Parallel()
	w, id := newWorld(t, 12345), model.NewVMID()
	vm, err := w.start(id, w.spec())
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, vm)
	defer conn.Close()
	fmt.Fprintln(conn, "end")
	_, _ = io.ReadAll(conn)
	if err := w.Kill(t.Context(), id); err != nil {
		t.Error(err)
	}
	vm, err = w.start(id, w.spec()) // over what is left
	if err != nil || vm.PID == 0 {
		t.Errorf("%+v, %v", vm, err)
	}
}
