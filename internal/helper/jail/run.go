package jail

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/model"
)

// root is the file system that a VMM sees, and what else it has of the host.
type root struct {
	uid     int
	nodes   []node
	slot    int
	network Network
}

type node struct {
	dev      uint64
	readOnly bool
}

// run makes the VMM's namespaces and starts the jailer in them, which becomes the VMM. It returns when settled does; with an
// error the process is dead.
//
// All of it is done by a thread that has namespaces of its own, and ends with them. When it ends early, with this process
// or without, the kernel ends the jailer with it (PR_SET_PDEATHSIG): that counts until the jailer gives up root's rights, the
// last thing before it becomes the VMM, when it is in the cgroup by which it can be found and ended.
func (h *Host) run(id model.VMID, j root, lock, log *os.File, settled func(dead <-chan *os.ProcessState) error) (pid int, err error) {
	err = onThread(func() error {
		if err := h.enter(id, j); err != nil {
			return err
		}
		process, err := os.StartProcess(filepath.Join(h.o.Programs, Jailer), h.argv(id, j.uid), &os.ProcAttr{
			Dir: "/", Env: []string{}, Files: []*os.File{lock, log, log},
			Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
		})
		if err != nil {
			return err
		}
		pid = process.Pid
		dead := make(chan *os.ProcessState, 1)
		go func() { // reaped, however long it lives
			state, _ := process.Wait()
			dead <- state
			close(dead)
		}()
		// Elsewhere: this thread sees no file of the host's any more where the VM's directory is.
		ended := make(chan error)
		go func() { ended <- settled(dead) }()
		if err = <-ended; err != nil {
			_ = process.Kill() // it may not be in the cgroup yet
			<-dead
		}
		return err
	})
	return pid, err
}

func (h *Host) argv(id model.VMID, uid int) []string {
	n := strconv.Itoa(uid)
	return []string{
		Jailer, "--id", h.name(id), "--exec-file", h.Program(), "--uid", n, "--gid", n, "--chroot-base-dir", h.Path(id),
		// Without limits for it to set, it goes into the cgroup that is there.
		"--cgroup-version", "2", "--parent-cgroup", filepath.Join(parent, h.name(id)),
		"--", "--api-sock", filepath.Join(Inside, Socket), "--level", "Info",
	}
}

// enter gives the calling thread namespaces of its own, in which the VM's directory is where the jailer makes a root.
func (h *Host) enter(id model.VMID, j root) error {
	wire, err := h.findWire(id, j.slot, j.network)
	if err != nil {
		return err
	}
	defer wire.close()
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	// Only the owner and the VMM can enter the directory, and the VMM's sockets are for the owner.
	unix.Umask(0)
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := makeNetwork(j.network, wire, j.uid); err != nil {
		return fmt.Errorf("cannot make its network: %w", err)
	}
	crash.At("jail.start.network")
	shared, err := unix.Open(h.Path(id), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: h.Path(id), Err: err}
	}
	defer unix.Close(shared)
	program, err := os.Stat(h.Program())
	if err != nil {
		return err
	}
	const slack = 4 * model.MiB
	if err := mount("banger", h.Path(id), "tmpfs", unix.MS_NOSUID, fmt.Sprintf("mode=0700,size=%d", program.Size()+slack)); err != nil {
		return err
	}
	at := filepath.Join(h.Path(id), Firecracker, h.name(id), "root") // as the jailer has it
	for _, dir := range []string{filepath.Join(at, Inside), filepath.Join(at, filepath.Dir(DrivePath(0))), filepath.Join(at, "dev")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := mount("/proc/self/fd/"+strconv.Itoa(shared), filepath.Join(at, Inside), "", unix.MS_BIND, ""); err != nil {
		return err
	}
	// What the VMM throws away would fill a file of that name.
	if err := unix.Mknod(filepath.Join(at, os.DevNull), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		return &os.PathError{Op: "mknod", Path: os.DevNull, Err: err}
	}
	for n, d := range j.nodes {
		if err := d.make(filepath.Join(at, DrivePath(n)), j.uid); err != nil {
			return err
		}
	}
	return nil
}

func (d node) make(path string, uid int) error {
	mode := uint32(0o600)
	if d.readOnly {
		mode = 0o400
	}
	if err := unix.Mknod(path, unix.S_IFBLK|mode, int(d.dev)); err != nil {
		return &os.PathError{Op: "mknod", Path: path, Err: err}
	}
	return os.Lchown(path, uid, uid)
}

func mount(what, where, kind string, flags uintptr, data string) error {
	if err := unix.Mount(what, where, kind, flags, data); err != nil {
		return &os.PathError{Op: "mount", Path: where, Err: err}
	}
	return nil
}
