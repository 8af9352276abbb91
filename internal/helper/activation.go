package helper

import (
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// firstPassed is the descriptor of the first socket that systemd hands over.
const firstPassed = 3

// passed returns the one socket that systemd has handed over, of kind SOCK_SEQPACKET.
func passed() (*net.UnixListener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
		return nil, model.Errorf(model.ErrInvalid, "cannot serve: systemd has handed over no socket; it is started by a call, see: banger system status")
	}
	unix.CloseOnExec(firstPassed)
	kind, err := unix.GetsockoptInt(firstPassed, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return nil, model.Errorf(model.ErrInvalid, "cannot serve: the socket that was handed over is not of kind SOCK_SEQPACKET")
	}
	file := os.NewFile(firstPassed, "the socket of systemd")
	defer file.Close() // the listener has its own
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	listener, ok := l.(*net.UnixListener)
	if !ok {
		return nil, model.Errorf(model.ErrInvalid, "cannot serve: a %T was handed over", l)
	}
	return listener, nil
}
