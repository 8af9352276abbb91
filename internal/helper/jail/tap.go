package jail

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/packetsocket"
)

// OpenTap returns a packet socket on the tap of the VM's VMM, which must be of NetworkTap: what its guest sends can be read
// there, and what is written arrives at the guest. It can be made anew at any time.
//
// Nothing is held of the namespace that the tap is in, so that it ends with the VMM: it is entered by way of the living
// VMM.
func (h *Host) OpenTap(ctx context.Context, id model.VMID) (*os.File, error) {
	if err := errors.Join(ctx.Err(), h.check(id)); err != nil {
		return nil, model.HostErrorf(err, "cannot open the tap of %s", id)
	}
	socket, err := h.openTap(id)
	if err != nil {
		return nil, model.HostErrorf(err, "cannot open the tap of %s", id)
	}
	crash.At("jail.tap.after")
	return socket, nil
}

func (h *Host) openTap(id model.VMID) (*os.File, error) {
	pid, err := h.Process(id)
	if err == nil && pid == 0 {
		err = model.Errorf(model.ErrNotFound, "it has no VMM in a jail")
	}
	if err != nil {
		return nil, err
	}
	// As long as this process is not reaped, no other has its pid.
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(process)
	if again, err := h.Process(id); err != nil || again != pid {
		return nil, errors.Join(model.Errorf(model.ErrState, "process %d has just ended", pid), err)
	}
	uid, err := userOfVMM(pid)
	if err != nil {
		return nil, err
	}
	crash.At("jail.tap.before")
	space, err := namespaceOf(pid, uid)
	if err != nil {
		return nil, err
	}
	defer space.Close()
	if ended, err := readable(process); err != nil || ended {
		return nil, errors.Join(model.Errorf(model.ErrState, "process %d has just ended", pid), err)
	}
	return socketIn(space, uid)
}

// userOfVMM is the uid of a VMM's process. The jailer before it is root's.
func userOfVMM(pid int) (int, error) {
	var stat unix.Stat_t
	path := "/proc/" + strconv.Itoa(pid)
	if err := unix.Stat(path, &stat); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if stat.Uid < FirstUID || stat.Uid > LastUID {
		return 0, model.Errorf(model.ErrDenied, "process %d is the user's %d, which is no VMM's", pid, stat.Uid)
	}
	return int(stat.Uid), nil
}

// readable says whether there is something to read, as there is of a process that has ended.
func readable(fd int) (bool, error) {
	polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(polled, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0, os.NewSyscallError("poll", err)
		}
	}
}

// namespaceOf opens the network namespace of a process of the user uid. The kernel shows it to whoever could look into that
// process: to its own user, by whose name this thread asks, so that the service needs no right to look into any process
// (CAP_SYS_PTRACE).
func namespaceOf(pid, uid int) (space *os.File, err error) {
	err = onThread(func() error {
		if _, err := unix.SetfsgidRetGid(uid); err != nil {
			return os.NewSyscallError("setfsgid", err)
		}
		if _, err := unix.SetfsuidRetUid(uid); err != nil {
			return os.NewSyscallError("setfsuid", err)
		}
		space, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		return err
	})
	return space, err
}

// socketIn makes a packet socket on the tap of the user uid in a network namespace.
func socketIn(space *os.File, uid int) (socket *os.File, err error) {
	if err := foreign(space); err != nil {
		return nil, err
	}
	err = onThread(func() error {
		if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		if err := tapAlone(uid); err != nil {
			return err
		}
		socket, err = packetsocket.Open(Tap)
		return err
	})
	return socket, err
}

// foreign is an error for this process's own network namespace.
func foreign(space *os.File) error {
	ours, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		return err
	}
	theirs, err := space.Stat()
	if err != nil {
		return err
	}
	if a, b := ours.Sys().(*syscall.Stat_t), theirs.Sys().(*syscall.Stat_t); a.Dev == b.Dev && a.Ino == b.Ino {
		return model.Errorf(model.ErrDenied, "its VMM is in the host's network")
	}
	return nil
}

// tapAlone is an error unless the calling thread's network namespace has the tap of the user uid, and that leads nowhere else:
// who has a packet socket can bind it to whatever there is, and with a wire there is the other side of the port's rules.
func tapAlone(uid int) error {
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer links.Close()
	all, err := links.LinkList()
	if err != nil {
		return err
	}
	found := false
	for _, l := range all { // some kernels have tunnels, which are down, in each namespace
		tap, is := l.(*netlink.Tuntap)
		found = found || is && tap.Name == Tap && tap.Owner == uint32(uid) && tap.MasterIndex == 0
		if kind := l.Type(); kind == "bridge" || kind == "veth" {
			return model.Errorf(model.ErrState, "its network is the kernel's: there is %s in its namespace", l.Attrs().Name)
		}
	}
	if !found {
		return model.Errorf(model.ErrState, "it has no network: there is no %s of its in its namespace", Tap)
	}
	return nil
}
