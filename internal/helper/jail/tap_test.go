package jail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

func (w *world) tapped() Spec {
	s := w.spec()
	s.Network = NetworkTap
	return s
}

// answerARP is what stands at the other end of a packet socket, until that is closed: every address is at mac.
func answerARP(socket *os.File, mac net.HardwareAddr) {
	const header = 10
	buf := make([]byte, 4096)
	for {
		n, err := socket.Read(buf)
		if err != nil {
			return
		}
		if frame := buf[header:n]; len(frame) >= 42 && bytes.Equal(frame[12:14], []byte{8, 6}) {
			answer := bytes.Join([][]byte{
				make([]byte, header), frame[6:12], mac, {8, 6, 0, 1, 8, 0, 6, 4, 0, 2}, mac, frame[38:42], frame[22:28], frame[28:32], make([]byte, 18),
			}, nil)
			_, _ = socket.Write(answer)
		}
	}
}

func TestATapAlone(t *testing.T) {
	t.Parallel()
	w, id := newWorld(t, 12345), model.NewVMID()
	vm, err := w.start(id, w.tapped())
	if err != nil {
		t.Fatalf("%v; it says: %s", err, said(w))
	}
	ours, err := os.Readlink("/proc/self/ns/net")
	theirs, terr := os.Readlink("/proc/" + strconv.Itoa(vm.PID) + "/ns/net")
	if err := errors.Join(err, terr); err != nil || ours == theirs {
		t.Errorf("it is in the host's network: %s, %v", theirs, err)
	}
	if got := ask(t, vm, "network"); !strings.Contains(got, Tap) || strings.Contains(got, joint) || strings.Contains(got, "bw") {
		t.Errorf("it sees %q", got)
	}
	for i := range 2 { // again, as after the end of who had the first one
		socket, err := w.OpenTap(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SetNonblock(int(socket.Fd()), true); err != nil {
			t.Fatal(err)
		}
		carrier := os.NewFile(uintptr(dup(t, socket)), "socket")
		mac := net.HardwareAddr{2, 0, 0, 0, 0, byte(i + 1)}
		done := make(chan struct{})
		go func() { defer close(done); answerARP(carrier, mac) }()
		if got := ask(t, vm, "arp 02:00:00:00:00:09 198.18.0.2 198.18.0.1"); got != mac.String() {
			t.Errorf("the gateway is at %q", got)
		}
		if err := errors.Join(carrier.Close(), socket.Close()); err != nil {
			t.Error(err)
		}
		<-done
	}
	if now, err := os.Readlink("/proc/self/ns/net"); err != nil || now != ours {
		t.Errorf("this process is in %s: %v", now, err)
	}
	if _, err := New(Options{Instance: w.o.Instance, UID: w.o.UID + 1, Dir: w.o.Dir, Cgroups: w.o.Cgroups}).OpenTap(t.Context(), id); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("another user's: %v", err)
	}
	if err := w.Kill(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := w.OpenTap(t.Context(), id); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("that of one that has ended: %v", err)
	}
	if err := w.Remove(t.Context(), id); err != nil {
		t.Error(err)
	}
	w.nothing()
}

// dup is a descriptor of the same socket, which waits as files of Go's do.
func dup(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// TestWhatHasNoTapToOpen: a packet socket sees all of the network namespace that it is in.
func TestWhatHasNoTapToOpen(t *testing.T) {
	t.Parallel()
	w, wired, without := newWorld(t, 12345), model.NewVMID(), model.NewVMID()
	w.attach(wired, 1)
	s := w.spec()
	s.Slot = 2
	for id, s := range map[model.VMID]Spec{wired: w.wired(), without: s} {
		if _, err := w.start(id, s); err != nil {
			t.Fatalf("%v; it says: %s", err, said(w))
		}
		if socket, err := w.OpenTap(t.Context(), id); !errors.Is(err, model.ErrState) || socket != nil {
			t.Errorf("with the network %d: %v", s.Network, err)
		}
	}
	// Not a VMM is what is in its cgroup, but a process of root's, in the host's network.
	id := model.NewVMID()
	if err := w.makeCgroup(id, s); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	if err := os.WriteFile(filepath.Join(w.cgroup(id), "cgroup.procs"), []byte(fmt.Sprint(other.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.OpenTap(t.Context(), id); !errors.Is(err, model.ErrDenied) {
		t.Errorf("a process of root's: %v", err)
	}
	if err := w.Remove(context.Background(), id); err != nil {
		t.Error(err)
	}
}

// TestTheHostsNetworkIsNotEntered, whoever is in it.
func TestTheHostsNetworkIsNotEntered(t *testing.T) {
	t.Parallel()
	own, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if socket, err := socketIn(own, FirstUID); !errors.Is(err, model.ErrDenied) || socket != nil {
		t.Errorf("got %v", err)
	}
}
