package channel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// The sync line is repeated because the guest may swallow one while it still holds the connection of an earlier host.
	// The first repeats are quick, so that a restarted daemon is back within 100 ms; a booting guest takes seconds.
	firstRepeat = 5 * time.Millisecond
	lastRepeat  = 100 * time.Millisecond

	// readyLimit is how long a guest that heard may take to be ready, before all begins anew.
	readyLimit = 5 * time.Second

	// maxJunk bounds what is thrown away before the guest's answer: far above what queues can hold of an earlier connection.
	maxJunk = 8 << 20
)

// Dial makes the host's end of a stream over the two ports' sockets. It waits for the guest until ctx ends. On success
// closing the result closes both sockets; on failure Dial has closed them.
func Dial(ctx context.Context, data, control net.Conn) (net.Conn, error) {
	c := &hostConn{Conn: data, control: control}
	// Deadlines are what wakes a blocked read or write when ctx ends.
	stop := context.AfterFunc(ctx, func() { c.Close() })
	rest, err := c.handshake(newNonce())
	for errors.Is(err, os.ErrDeadlineExceeded) { // the guest heard, and then lost what it was told
		rest, err = c.handshake(newNonce())
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("cannot reach the guest's agent: %w", err)
	}
	c.rest = rest
	return c, data.SetDeadline(time.Time{})
}

// hostConn is the data socket, with what had been read of it beyond the handshake.
type hostConn struct {
	net.Conn
	control net.Conn
	rest    []byte
	once    sync.Once
	err     error
}

func (c *hostConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Close closes both sockets; twice is fine.
func (c *hostConn) Close() error {
	c.once.Do(func() { c.err = errors.Join(c.Conn.Close(), c.control.Close()) })
	return c.err
}

func (c *hostConn) handshake(nonce string) (rest []byte, err error) {
	if err := c.Conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if _, err := c.control.Write(line(verbReset, nonce)); err != nil {
		return nil, err
	}
	buf := make([]byte, 32<<10)
	var scan lines
	junk, waiting, repeat := 0, verbHeard, firstRepeat
	if err := c.send(line(verbSync, nonce), repeat); err != nil {
		return nil, err
	}
	for {
		n, err := c.Conn.Read(buf)
		if err != nil && !(waiting == verbHeard && errors.Is(err, os.ErrDeadlineExceeded)) {
			return nil, err
		}
		if err != nil { // nothing yet: say it again
			repeat = min(2*repeat, lastRepeat)
			if err := c.send(line(verbSync, nonce), repeat); err != nil {
				return nil, err
			}
		}
		if junk += n; junk > maxJunk {
			return nil, errJunk
		}
		for b := buf[:n]; len(b) > 0; {
			text, left, ok := scan.next(b)
			b = left
			if !ok || nonceOf(waiting, text) != nonce {
				continue
			}
			if waiting == verbReady {
				return append([]byte(nil), b...), nil
			}
			// From here on nothing is repeated: a second go would be read as part of the stream.
			waiting = verbReady
			if err := c.Conn.SetDeadline(time.Now().Add(readyLimit)); err != nil {
				return nil, err
			}
			if _, err := c.Conn.Write(line(verbGo, nonce)); err != nil {
				return nil, err
			}
		}
	}
}

// send writes a line that may get lost, then lets reads wait for that long. A guest that does not read fills the socket's
// buffer, which is no reason to give up.
func (c *hostConn) send(b []byte, wait time.Duration) error {
	if err := c.Conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	if _, err := c.Conn.Write(b); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}
