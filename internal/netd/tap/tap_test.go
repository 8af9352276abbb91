package tap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/network/user"
	"banger/internal/procs"
	"banger/internal/unixsocket"
)

const (
	holdTap = "hold-tap" // an argument that makes this program hold a tap as a VMM does
	name    = "banger"
	mtu     = 65520
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		var err error
		switch os.Args[1] {
		case user.TapCommand:
			err = user.TapHelper(os.Args[2:])
		case holdTap:
			err = hold()
		default:
			goleak.VerifyTestMain(m)
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// hold makes a tap, says so, and then sends back each frame that arrives: as it came, and once more with its checksum left
// to be made, as a guest's driver leaves it.
func hold() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		return err
	}
	fmt.Println("ready")
	buf := make([]byte, vnetSize+maxFrame)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, buf[:n]); err != nil {
			return err
		}
		buf[0] = vnetNeedsCheck
		binary.NativeEndian.PutUint16(buf[6:], 14+20)
		binary.NativeEndian.PutUint16(buf[8:], 6)
		if _, err := unix.Write(fd, buf[:n]); err != nil {
			return err
		}
	}
}

// vmm starts a process that holds a tap in namespaces of its own.
func vmm(t *testing.T) (model.Process, *exec.Cmd) {
	t.Helper()
	cmd := exec.Command(os.Args[0], holdTap)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("not run: needs user namespaces: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Skipf("not run: needs to make a tap in a namespace: %q, %v", line, err)
	}
	p, err := procs.Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p, cmd
}

// frame is a UDP packet without a checksum.
func frame(size int) []byte {
	b := make([]byte, 14+size)
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45})
	binary.BigEndian.PutUint16(b[16:], uint16(size))
	b[23] = 17
	binary.BigEndian.PutUint16(b[14+20+4:], uint16(size-20))
	for i := 14 + 28; i < len(b); i++ {
		b[i] = byte(i)
	}
	return b
}

func send(t *testing.T, conn net.Conn, frame []byte) {
	t.Helper()
	head := binary.BigEndian.AppendUint32(nil, uint32(len(frame)))
	if _, err := conn.Write(append(head, frame...)); err != nil {
		t.Fatal(err)
	}
}

func receiveFrame(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestTap carries frames of all sizes over a real tap in another process's namespace, both ways.
func TestTap(t *testing.T) {
	p, cmd := vmm(t)
	path := filepath.Join(t.TempDir(), "net")
	var last net.Conn
	for round := range 2 { // the second time as a netd that was started again
		packet, err := user.OpenTap(t.Context(), p, name, mtu)
		if err != nil {
			t.Fatal(err)
		}
		b, err := New(packet, path, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for range 2 - round { // one connection after the other
			conn, err := unixsocket.Dial(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			last = conn
			for _, size := range []int{28, 100, 1500, 9000, mtu} {
				want := frame(size)
				send(t, conn, want)
				if got := receiveFrame(t, conn); string(got) != string(want) {
					t.Fatalf("a frame of %d bytes came back as one of %d", len(want), len(got))
				}
				got := receiveFrame(t, conn)
				if check := got[14+20+6:][:2]; check[0] == 0 && check[1] == 0 {
					t.Errorf("the checksum of a frame of %d bytes was not made", len(want))
				}
			}
			if round == 0 {
				conn.Close()
			}
		}
		if round == 0 {
			b.Close()
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket is left behind: %v", err)
			}
			continue
		}
		// The VMM's end is the bridge's.
		_ = cmd.Process.Kill()
		if _, err := io.Copy(io.Discard, last); err != nil && !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("the connection of a dead VMM: %v", err)
		}
		b.Close()
		if !b.Over() {
			t.Error("the bridge goes on without its tap")
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	self, err := procs.Self()
	if err != nil {
		t.Fatal(err)
	}
	if f, err := user.OpenTap(t.Context(), self, name, mtu); err == nil || !strings.Contains(err.Error(), "of its own") {
		t.Errorf("our own namespace: %v, %v", f, err)
	}
	stale := self
	stale.StartTime++
	if f, err := user.OpenTap(t.Context(), stale, name, mtu); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("a dead process: %v, %v", f, err)
	}
	p, _ := vmm(t)
	if f, err := user.OpenTap(t.Context(), p, "absent", mtu); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("a tap that is not there: %v, %v", f, err)
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	header := func(flags byte, start, offset uint16) []byte {
		b := make([]byte, vnetSize)
		b[0] = flags
		binary.NativeEndian.PutUint16(b[6:], start)
		binary.NativeEndian.PutUint16(b[8:], offset)
		return b
	}
	for name, c := range map[string]struct {
		in   []byte
		want string
		bad  bool
	}{
		"short":           {in: make([]byte, vnetSize-1), bad: true},
		"empty":           {in: header(0, 0, 0), want: ""},
		"plain":           {in: append(header(0, 9, 9), "abc"...), want: "abc"},
		"sum":             {in: append(header(vnetNeedsCheck, 0, 2), 1, 2, 0, 0), want: "\x01\x02\xfe\xfd"},
		"sum of zero":     {in: append(header(vnetNeedsCheck, 0, 2), 0xff, 0xff, 0, 0), want: "\xff\xff\xff\xff"},
		"beyond the end":  {in: append(header(vnetNeedsCheck, 0, 3), 1, 2, 0, 0), bad: true},
		"start too far":   {in: append(header(vnetNeedsCheck, 5, 0), 1, 2, 0, 0), bad: true},
		"numbers too big": {in: append(header(vnetNeedsCheck, 65535, 65535), 1, 2, 0, 0), bad: true},
	} {
		got, err := complete(c.in)
		if (err != nil) != c.bad || !c.bad && string(got) != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
