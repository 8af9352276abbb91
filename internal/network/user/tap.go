package user

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	netdv1 "banger/api/netd/v1"
	"banger/internal/crash"
	"banger/internal/hosttool"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/unixsocket"
)

// openLimit bounds the making of a socket, on a host whose every core is busy.
const openLimit = 20 * time.Second

// OpenTap returns a packet socket on the tap of that name in the network namespace of p, which must be a process of this user
// in a user namespace of its own. The tap is up afterwards.
//
// A VMM that knows only taps is started in namespaces of its own, where it makes its tap itself. A tap has one holder, and
// that is the VMM; but a packet socket in the same namespace sees what the VMM sends on the tap, and what is sent on it
// arrives at the VMM. This program is run once more inside the namespaces to make one, and hands it back by descriptor;
// from then on nothing of ours is in there. It can be made anew at any time.
func OpenTap(ctx context.Context, p model.Process, name string, mtu uint32) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	spaces, err := namespaces(p)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range spaces {
			f.Close()
		}
	}()
	nsenter, err := hosttool.Find("nsenter", "util-linux")
	if err != nil {
		return nil, err
	}
	// The program that runs, also when its file was replaced by an upgrade.
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer self.Close()
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	defer theirs.Close()
	var said strings.Builder
	cmd := exec.CommandContext(ctx, nsenter, "--user=/proc/self/fd/3", "--net=/proc/self/fd/4", "--preserve-credentials", "--",
		"/proc/self/fd/5", TapCommand, name, fmt.Sprint(mtu))
	cmd.Stdin, cmd.ExtraFiles, cmd.Env = theirs, []*os.File{spaces[0], spaces[1], self}, []string{}
	cmd.Stderr = &capped{to: &said, left: maxComplaint}
	if err := cmd.Run(); err != nil {
		return nil, model.Errorf(model.ErrUnavailable, "cannot reach the VM's tap: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return receive(ours)
}

// maxComplaint caps what is kept of the helper's error.
const maxComplaint = 1000

// capped keeps the beginning of what is written.
type capped struct {
	to   *strings.Builder
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.to.Write(p[:n])
	c.left -= n
	return len(p), nil
}

// namespaces opens the user and the network namespace of p. Its pid may be another's before they are open, and so it is
// checked after.
func namespaces(p model.Process) ([]*os.File, error) {
	h, err := procs.Open(p)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var all []*os.File
	for _, kind := range []string{"user", "net"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", p.PID, kind))
		if err == nil {
			all = append(all, f)
			err = foreign(f, kind)
		}
		if err == nil && !procs.Alive(p) {
			err = model.Errorf(model.ErrNotFound, "process %d has ended", p.PID)
		}
		if err != nil {
			for _, f := range all {
				f.Close()
			}
			return nil, fmt.Errorf("cannot reach the VM's tap: %w", err)
		}
	}
	return all, nil
}

// foreign is an error for a namespace that is our own: what is done to a VM's must never be done to the host's.
func foreign(f *os.File, kind string) error {
	var theirs, ours unix.Stat_t
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var statErr error
	if err := raw.Control(func(fd uintptr) { statErr = unix.Fstat(int(fd), &theirs) }); err != nil {
		return err
	}
	if err := errors.Join(statErr, unix.Stat("/proc/self/ns/"+kind, &ours)); err != nil {
		return err
	}
	if ours.Dev == theirs.Dev && ours.Ino == theirs.Ino {
		return fmt.Errorf("the VMM has no %s namespace of its own", kind)
	}
	return nil
}

// handOver gives netd the packet socket of a VM's tap, over a socket of its own: descriptors do not travel in RPCs. netd
// answers with nothing, or with what is wrong.
func (d *Driver) handOver(ctx context.Context, id string, packet *os.File) error {
	conn, err := unixsocket.Dial(ctx, d.options.Dirs.NetdTaps())
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := packet.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { _, _, sent = conn.WriteMsgUnix([]byte(id), unix.UnixRights(int(fd)), nil) }); err != nil {
		return err
	}
	if sent != nil {
		return sent
	}
	answer, err := io.ReadAll(io.LimitReader(conn, maxComplaint))
	if err == nil && string(answer) != "ok" {
		err = fmt.Errorf("banger-netd says: %q", answer)
	}
	return err
}

// attach gives netd a new packet socket for the port of a tap.
func (d *Driver) attach(ctx context.Context, port *netdv1.Port) error {
	crash.At("user.tap.before")
	packet, err := d.openTap(ctx, port)
	if err != nil {
		return err
	}
	defer packet.Close()
	crash.At("user.tap.opened")
	if err := within(ctx, answerTime, func(ctx context.Context) error { return d.handOver(ctx, port.GetVmId(), packet) }); err != nil {
		return model.Errorf(model.ErrUnavailable, "cannot give the VM its network: %w", err)
	}
	crash.At("user.tap.after")
	return nil
}

// Jails have the taps of VMMs in jails, whose namespaces are not this user's: see package jail.
type Jails interface {
	// There says whether the VM's VMM is in a jail.
	There(id model.VMID) bool
	// OpenTap returns a packet socket on the tap in it.
	OpenTap(ctx context.Context, id model.VMID) (*os.File, error)
}

// openTap opens the tap of a VM's port where its VMM is. What that was told to be when it was started may be longer ago than
// what is known here.
func (d *Driver) openTap(ctx context.Context, port *netdv1.Port) (*os.File, error) {
	if id := model.VMID(port.GetVmId()); d.options.Jails != nil && d.options.Jails.There(id) {
		ctx, cancel := context.WithTimeout(ctx, openLimit)
		defer cancel()
		return d.options.Jails.OpenTap(ctx, id)
	}
	t := port.GetTap()
	return OpenTap(ctx, model.Process{PID: int(t.GetPid()), StartTime: t.GetStartTime(), BootID: t.GetBootId()}, t.GetName(), port.GetMtu())
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "tap"), os.NewFile(uintptr(fds[1]), "tap"), nil
}

// receive takes the descriptor that the helper, which has ended by now, sent.
func receive(from *os.File) (*os.File, error) {
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(from.Fd()), make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the VM's tap: %w", os.NewSyscallError("recvmsg", err))
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("cannot reach the VM's tap: no socket came back")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("cannot reach the VM's tap: no socket came back")
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), "tap"), nil
}
