package netd

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/netd/tap"
	"banger/internal/unixsocket"
)

// told is whose tap a VM's port was told of.
type told struct {
	name    string
	process model.Process
}

// wantsTap says whether a VM's port was told of a tap whose frames nobody carries.
func (n *Network) wantsTap(id string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	e := n.ports[id]
	return e != nil && e.told != told{} && (e.tap == nil || e.tap.Over() || e.carried != e.told)
}

// tellTap says whose tap a VM's port has; one that is left out changes nothing.
func (n *Network) tellTap(id string, t told) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.ports[id]; e != nil && t != (told{}) {
		e.told = t
	}
}

// attach carries the frames of a VM's tap to its port. It owns packet.
func (n *Network) attach(id string, packet *os.File) error {
	n.change.Lock()
	defer n.change.Unlock()
	n.mu.RLock()
	e := n.ports[id]
	n.mu.RUnlock()
	if e == nil || e.told == (told{}) {
		packet.Close()
		return model.Errorf(model.ErrNotFound, "VM %q has no port that waits for a tap", id)
	}
	if e.tap != nil {
		e.tap.Close()
	}
	bridge, err := tap.New(packet, e.port.Identity().Socket, n.env.Log.With("id", id))
	if err != nil {
		return err
	}
	n.mu.Lock()
	e.tap, e.carried = bridge, e.told
	n.mu.Unlock()
	return nil
}

// A message of the taps' socket is a VM's id and one descriptor.
const (
	maxTapMessage = 64
	tapTime       = 5 * time.Second // for the whole of one
)

// serveTaps takes packet sockets on l, one at a time, until l is closed. The answer is "ok", or what is wrong.
func serveTaps(l net.Listener, n *Network, log *slog.Logger) {
	l = unixsocket.SameUser(l, log)
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(tapTime))
		answer := "ok"
		if err := takeTap(conn, n); err != nil {
			log.Info("a tap was refused", "error", err)
			answer = err.Error()
		}
		_, _ = conn.Write([]byte(answer))
		conn.Close()
	}
}

func takeTap(conn net.Conn, n *Network) error {
	from, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("a %T carries no descriptors", conn)
	}
	id, rights := make([]byte, maxTapMessage), make([]byte, unix.CmsgSpace(4))
	length, rn, flags, _, err := from.ReadMsgUnix(id, rights)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("no descriptor came with it: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 || flags&unix.MSG_CTRUNC != 0 {
		return fmt.Errorf("%d descriptors came with it: %w", len(fds), err)
	}
	domain, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_PACKET {
		unix.Close(fds[0])
		return fmt.Errorf("what came with it is no packet socket")
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		return err
	}
	return n.attach(string(id[:length]), os.NewFile(uintptr(fds[0]), "tap"))
}
