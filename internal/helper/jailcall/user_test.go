package jailcall_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/helper/jail"
	"banger/internal/helper/jailcall"
	"banger/internal/helper/serve"
	"banger/internal/helper/serve/servetest"
	"banger/internal/helper/wire"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/testenv"
)

// userVariable is the environment variable that makes the test program an ordinary user's, who asks the helper at the socket
// that it names. It works in its current directory.
const userVariable = "BANGER_TEST_USER"

// apartVariable is the one that makes it a helper, and holds what realService takes.
const apartVariable = "BANGER_TEST_APART"

func TestMain(m *testing.M) {
	if socket := os.Getenv(userVariable); socket != "" {
		if err := asUser(socket); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	syscall.Umask(0o077) // as the helper has it
	if dir, cgroups, ok := strings.Cut(os.Getenv(apartVariable), " "); ok {
		os.Exit(servetest.Main(realService(os.Getuid(), dir, cgroups)))
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	os.Exit(testenv.OwnNetwork(m))
}

const user = 12345 // is nobody here

// programs makes a directory with the real jailer, and testdata's VMM, and says where cgroup v2 is.
func programs(t *testing.T) (dir, cgroups string) {
	t.Helper()
	testenv.NeedRoot(t)
	jailer := testenv.NeedTool(t, jail.Jailer)
	dir = testenv.QuickDir(t)
	testenv.Program(t, "../jail/testdata/vmm", filepath.Join(dir, jail.Firecracker))
	text, err := os.ReadFile(jailer)
	if err = errors.Join(err, os.WriteFile(filepath.Join(dir, jail.Jailer), text, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(at, "cgroup.procs")); err == nil {
			cgroups = at
		}
	}
	if cgroups == "" {
		t.Skip("not run: needs a cgroup v2")
	}
	return dir, cgroups
}

// realService is the helper's, with the programs of a directory, for one user.
func realService(owner int, dir, cgroups string) serve.Service {
	verbs := jailcall.Verbs(&serve.VMs{}, func(c serve.Caller) jailcall.Host {
		return jail.New(jail.Options{
			Instance: c.Instance, UID: c.UID, GID: c.GID, Programs: dir, Dir: filepath.Join(dir, "jail"), Cgroups: cgroups, Controllers: []string{},
			Udev: testenv.Udev{},
		})
	})
	return serve.Service{Name: "storage", Owner: owner, Verbs: verbs, Log: slog.New(slog.DiscardHandler)}
}

// TestAnOrdinaryUsersVMM is started, spoken to and ended by a user without rights, whose VMM is not that user's process.
func TestAnOrdinaryUsersVMM(t *testing.T) {
	t.Parallel()
	dir, cgroups := programs(t)
	socket := filepath.Join(dir, "socket")
	l, err := net.ListenUnix(wire.Network, &net.UnixAddr{Name: socket, Net: wire.Network})
	if err == nil {
		err = os.Chown(socket, user, user)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- realService(user, dir, cgroups).Serve(ctx, l)
	}()
	work := filepath.Join(dir, "home")
	if err := errors.Join(os.Mkdir(work, 0o700), os.Chown(work, user, user)); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "test")
	text, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = errors.Join(os.WriteFile(program, text, 0o755), os.Chmod(program, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env, cmd.Dir = append(os.Environ(), userVariable+"="+socket), work
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, name := range []string{"jail", "stock"} {
		if left, err := os.ReadDir(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("left in %s: %v, %v", name, left, err)
		}
	}
}

// asUser is the ordinary user's part.
func asUser(socket string) error {
	lock, err := procs.TryLock("lock")
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Mkfifo("log", 0o600), os.WriteFile("disk", make([]byte, 1<<20), 0o600)); err != nil {
		return err
	}
	log, err := os.OpenFile("log", os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	disk, err := os.OpenFile("disk", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	ctx, id := context.Background(), model.NewVMID()
	instance := model.NewInstanceID()
	client := jailcall.New(socket, instance)
	vm, err := client.Start(ctx, id, jail.Spec{Slot: 1, VCPUs: 1, MemoryBytes: 256 * model.MiB, Drives: []jail.Drive{{File: disk}}, Network: jail.NetworkTap}, lock, log)
	if err != nil {
		return err
	}
	seen := jail.New(jail.Options{Instance: instance, UID: user, Dir: filepath.Dir(vm.Dir), Cgroups: filepath.Dir(filepath.Dir(vm.Cgroup))})
	if pid, err := seen.Process(id); err != nil || pid != vm.PID {
		return fmt.Errorf("process %d is seen, and not %d: %w", pid, vm.PID, err)
	}
	if all, err := seen.List(ctx); err != nil || len(all) != 1 || all[0].UID != vm.UID {
		return fmt.Errorf("seen are %+v: %w", all, err)
	}
	lock.Close() // the VMM has it
	if held, err := procs.Locked("lock"); err != nil || !held {
		return fmt.Errorf("the lock is held: %t, %w", held, err)
	}
	if err := unix.Kill(vm.PID, unix.SIGKILL); !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("the VMM can be killed: %w", err)
	}
	answer, err := ask(filepath.Join(vm.Dir, jail.Socket), "write /disks/0")
	if err != nil || answer != `"ok"` {
		return fmt.Errorf("it says %s, %w", answer, err)
	}
	written, err := os.ReadFile("disk")
	if err != nil || !strings.HasPrefix(string(written), "wwww") {
		return fmt.Errorf("the disk holds %.8q, %w", written, err)
	}
	// What is kept for starts is given to it by a link.
	kept := filepath.Join(seen.Stock(), "kept")
	if err := errors.Join(os.WriteFile(kept, []byte("kept for starts."), 0o600), os.Chmod(kept, 0o644), os.Link(kept, filepath.Join(vm.Dir, "kernel"))); err != nil {
		return err
	}
	if answer, err := ask(filepath.Join(vm.Dir, jail.Socket), "read /vm/kernel"); err != nil || answer != `"kept for starts."` {
		return fmt.Errorf("of what is kept it reads %s, %w", answer, err)
	}
	if err := os.Remove(kept); err != nil {
		return err
	}
	if err := carry(ctx, client, id, filepath.Join(vm.Dir, jail.Socket)); err != nil {
		return err
	}
	if err := client.Kill(ctx, id); err != nil {
		return err
	}
	if _, err := client.OpenTap(ctx, id); !errors.Is(err, model.ErrNotFound) {
		return fmt.Errorf("after its end its tap is opened: %w", err)
	}
	if held, err := procs.Locked("lock"); err != nil || held {
		return fmt.Errorf("the lock is held after its end: %t, %w", held, err)
	}
	return errors.Join(client.Remove(ctx, id), client.Remove(ctx, id))
}

// carry takes the VMM's frames from its tap, and answers one.
func carry(ctx context.Context, client *jailcall.Client, id model.VMID, api string) error {
	if _, err := client.OpenTap(ctx, model.NewVMID()); !errors.Is(err, model.ErrNotFound) {
		return fmt.Errorf("the tap of no VM is opened: %w", err)
	}
	socket, err := client.OpenTap(ctx, id)
	if err != nil {
		return err
	}
	defer socket.Close()
	if domain, err := unix.GetsockoptInt(int(socket.Fd()), unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain != unix.AF_PACKET {
		return fmt.Errorf("what it is given is of the domain %d: %w", domain, err)
	}
	const header = 10
	mac := []byte{2, 0, 0, 0, 0, 7}
	fd := int(socket.Fd()) // asked for once: the socket is closed while that is read from
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := unix.Read(fd, buf)
			if err != nil {
				return
			}
			if frame := buf[header:n]; len(frame) >= 42 && bytes.Equal(frame[12:14], []byte{8, 6}) {
				_, _ = unix.Write(fd, bytes.Join([][]byte{
					make([]byte, header), frame[6:12], mac, {8, 6, 0, 1, 8, 0, 6, 4, 0, 2}, mac, frame[38:42], frame[22:28], frame[28:32], make([]byte, 18),
				}, nil))
			}
		}
	}()
	answer, err := ask(api, "arp 02:00:00:00:00:09 198.18.0.2 198.18.0.1")
	if err != nil || answer != `"02:00:00:00:00:07"` {
		return fmt.Errorf("over its tap it hears %s, %w", answer, err)
	}
	return nil
}

// ask has the VMM do something. It listens a moment after its socket is there.
func ask(path, line string) (string, error) {
	for {
		conn, err := net.Dial("unix", path)
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return "", err
		}
		defer conn.Close()
		fmt.Fprintln(conn, line)
		answer, err := bufio.NewReader(conn).ReadString('\n')
		return strings.TrimSpace(answer), err
	}
}
