// Package wire carries the calls to the privileged helper over a Unix socket of kind SOCK_SEQPACKET.
//
// The kernel keeps messages apart, so a torn one cannot be taken for two; what is longer than Most, or brings more
// descriptors than Files, is refused whole. Whoever receives a message owns its descriptors.
package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"banger/internal/model"
)

// The limits of a message.
const (
	Most  = 64 << 10 // bytes of a message
	Files = 10       // descriptors of one
)

// Network is the kind of socket, as package net calls it.
const Network = "unixpacket"

// Dir is where the helper's sockets are. Only root can write to it.
const Dir = "/run/banger"

// Socket is where the service of that name listens.
func Socket(service string) string { return Dir + "/" + service + ".sock" }

// Send sends a message, with files.
func Send(conn *net.UnixConn, m proto.Message, files ...*os.File) error {
	data, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	if len(data) == 0 || len(data) > Most || len(files) > Files {
		return model.Errorf(model.ErrInvalid, "cannot send a message of %d bytes with %d descriptors", len(data), len(files))
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			if fds[i], err = number(f); err != nil {
				return err
			}
		}
		rights = unix.UnixRights(fds...)
	}
	n, _, err := conn.WriteMsgUnix(data, rights, nil)
	runtime.KeepAlive(files)
	if err == nil && n != len(data) {
		err = io.ErrShortWrite
	}
	return err
}

// number is a file's descriptor, which the caller keeps open. That it was asked for does not make the file block.
func number(f *os.File) (fd int, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	return fd, conn.Control(func(n uintptr) { fd = int(n) })
}

// Receive receives a message into m, which knows each of its fields. The error is io.EOF when the other end has closed the
// connection.
func Receive(conn *net.UnixConn, m proto.Message) ([]*os.File, error) {
	data, control := make([]byte, Most), make([]byte, unix.CmsgSpace(4*Files))
	n, nc, flags, _, err := conn.ReadMsgUnix(data, control)
	files, ferr := filesOf(control[:max(nc, 0)])
	switch {
	case err != nil:
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = model.Errorf(model.ErrInvalid, "a message has more than %d bytes or %d descriptors", Most, Files)
	case n <= 0: // an empty message looks like the end, and means as much
		err = io.EOF
	case ferr != nil:
		err = ferr
	default:
		err = Decode(data[:n], m)
	}
	if err != nil {
		Close(files)
		return nil, err
	}
	return files, nil
}

// Decode takes data for m, all of it.
func Decode(data []byte, m proto.Message) error {
	if err := proto.Unmarshal(data, m); err != nil {
		return model.Errorf(model.ErrInvalid, "a message is not one of the helper's")
	}
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		return model.Errorf(model.ErrInvalid, "a message has fields that are not known here")
	}
	return nil
}

// filesOf takes the descriptors, also those beside something that is none.
func filesOf(control []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	var errs []error
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			errs = append(errs, err)
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), fmt.Sprintf("descriptor %d of a message", len(files))))
		}
	}
	return files, errors.Join(errs...)
}

// Close closes the descriptors of a message.
func Close(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing was written
	}
}

// Gone says whether an error means that the other end has closed the connection, or is dead.
func Gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}
