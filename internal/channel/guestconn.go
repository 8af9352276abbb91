package channel

import (
	"io"
	"net"
	"time"
)

// guestConn is one clean stream of a Listener. Once it is closed, by its user or by a reset, it leaves the port alone:
// the port then belongs to the next handshake.
type guestConn struct {
	l      *Listener
	rest   []byte // read beyond the handshake; guarded by l.reading
	closed bool   // guarded by l.mu
}

func (c *guestConn) open() bool {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	return !c.closed
}

// Read returns io.EOF once a reset has ended the stream: to its user the peer is gone.
func (c *guestConn) Read(b []byte) (int, error) {
	c.l.reading.Lock()
	defer c.l.reading.Unlock()
	if !c.open() {
		return 0, io.EOF
	}
	if len(c.rest) > 0 {
		n := copy(b, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	n, err := c.l.data.Read(b)
	if err != nil && !c.open() {
		err = io.EOF
	}
	return n, err
}

func (c *guestConn) Write(b []byte) (int, error) {
	c.l.writing.Lock()
	defer c.l.writing.Unlock()
	if !c.open() {
		return 0, net.ErrClosed
	}
	return c.l.data.Write(b)
}

// Close ends the stream and wakes its blocked calls; the ports stay open. Twice is fine.
func (c *guestConn) Close() error {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if !c.closed {
		c.l.drop()
	}
	return nil
}

func (c *guestConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *guestConn) SetReadDeadline(t time.Time) error {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.l.data.SetReadDeadline(t)
}

func (c *guestConn) SetWriteDeadline(t time.Time) error {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.l.data.SetWriteDeadline(t)
}

func (c *guestConn) LocalAddr() net.Addr  { return addr("guest") }
func (c *guestConn) RemoteAddr() net.Addr { return addr("host") }

type addr string

func (addr) Network() string  { return "channel" }
func (a addr) String() string { return string(a) }
