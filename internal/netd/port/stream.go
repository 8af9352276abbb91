package port

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// copySize is how much is read from the host at once, rounded down to whole segments of the guest's connection.
const copySize = 256 << 10

// buffers are borrowed only while bytes are in them, so that idle connections hold none.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *[]byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, copySize)
	return &buf
}

func (b *buffers) put(buf *[]byte) { b.pool.Put(buf) }

// stream is a TCP connection of the guest and its other half on the host.
type stream struct {
	ep      tcpip.Endpoint
	queue   *waiter.Queue
	host    *net.TCPConn
	buffers *buffers
}

var errBroken = errors.New("the connection broke")

// hangUp resets the host's half, which wakes those who carry bytes.
func (s stream) hangUp() {
	_ = s.host.SetLinger(0)
	s.host.Close()
}

// toHost carries bytes from the guest, without a buffer of its own: what the host does not take stays in the stack, whose
// window then closes. It passes the guest's end on.
func (s stream) toHost(ctx context.Context) error {
	raw, err := s.host.SyscallConn()
	if err != nil {
		return err
	}
	entry, more := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp | waiter.EventErr)
	s.queue.EventRegister(&entry)
	defer s.queue.EventUnregister(&entry)
	for {
		var w fdWriter
		var failed tcpip.Error
		if err := raw.Write(func(fd uintptr) bool {
			w = fdWriter{fd: int(fd)} // it does not block: the endpoint is locked meanwhile
			_, failed = s.ep.Read(&w, tcpip.ReadOptions{})
			return !w.full
		}); err != nil {
			return err
		}
		if w.err != nil {
			return w.err
		}
		switch failed.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			select {
			case <-more:
			case <-ctx.Done():
				return ctx.Err()
			}
		case *tcpip.ErrClosedForReceive:
			return s.host.CloseWrite()
		default:
			return errBroken
		}
	}
}

// fdWriter writes to a descriptor until that takes no more.
type fdWriter struct {
	fd   int
	full bool
	err  error
}

func (w *fdWriter) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Write(w.fd, b[done:])
		switch {
		case err == nil:
			done += n
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			w.full = true
			return done, io.ErrShortWrite
		default:
			w.err = err
			return done, err
		}
	}
	return done, nil
}

// toGuest carries bytes to the guest, and the host's end.
func (s stream) toGuest(ctx context.Context) error {
	raw, err := s.host.SyscallConn()
	if err != nil {
		return err
	}
	size := copySize
	if mss, err := s.ep.GetSockOptInt(tcpip.MaxSegOption); err == nil && mss > 0 && mss < copySize {
		size = copySize / mss * mss // or each read would end in a small segment
	}
	entry, room := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	s.queue.EventRegister(&entry)
	defer s.queue.EventUnregister(&entry)
	for {
		buf, n, err := s.buffers.read(raw.Read, size)
		if err != nil {
			return err
		}
		if n == 0 {
			s.buffers.put(buf)
			if failed := s.ep.Shutdown(tcpip.ShutdownWrite); failed != nil {
				return errBroken
			}
			return nil
		}
		err = s.write(ctx, (*buf)[:n], room)
		s.buffers.put(buf)
		if err != nil {
			return err
		}
	}
}

// read waits for bytes and only then borrows a buffer for them.
func (b *buffers) read(wait func(func(fd uintptr) bool) error, size int) (buf *[]byte, n int, err error) {
	var failed error
	err = wait(func(fd uintptr) bool {
		buf = b.get()
		for {
			n, failed = unix.Read(int(fd), (*buf)[:size])
			if !errors.Is(failed, unix.EINTR) {
				break
			}
		}
		if failed != nil {
			b.put(buf)
			buf = nil
		}
		return !errors.Is(failed, unix.EAGAIN)
	})
	return buf, n, errors.Join(err, failed)
}

func (s stream) write(ctx context.Context, b []byte, room <-chan struct{}) error {
	rest := bytes.NewReader(b)
	for rest.Len() > 0 {
		switch _, failed := s.ep.Write(rest, tcpip.WriteOptions{}); failed.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			select {
			case <-room:
			case <-ctx.Done():
				return ctx.Err()
			}
		default:
			return errBroken
		}
	}
	return nil
}
