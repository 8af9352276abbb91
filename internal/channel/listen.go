package channel

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Port is the guest's end of a virtio-serial port. Read returns io.EOF when the host's side closes; a Read after that
// waits for the next host, and returns io.EOF at once again only when there will be none. Deadlines wake blocked calls.
type Port interface {
	io.ReadWriteCloser
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// Listener yields the clean streams of one pair of ports, one at a time: a host's reset ends the stream before it.
type Listener struct {
	data, control Port

	mu      sync.Mutex
	nonce   string // of the last reset, "" once its host is gone
	changed chan struct{}
	current *guestConn
	err     error // why there will be no more

	// Held around each use of the data port, so that a handshake begins only when no call of an earlier stream is left in
	// it. Taken before mu.
	reading, writing sync.Mutex
}

// Listen watches the control port until it fails or Close is called. The Listener owns both ports.
func Listen(data, control Port) *Listener {
	l := &Listener{data: data, control: control, changed: make(chan struct{})}
	go l.watch()
	return l
}

// watch follows the control port: each reset there ends what goes on on the data port.
func (l *Listener) watch() {
	buf := make([]byte, 256)
	var scan lines
	for ended := false; ; {
		n, err := l.control.Read(buf)
		switch {
		case err == nil:
			ended = false
		case errors.Is(err, io.EOF) && !ended:
			ended = true // one host is gone; another may come
		default:
			l.fail(err)
			return
		}
		for b := buf[:n]; len(b) > 0; {
			text, rest, ok := scan.next(b)
			b = rest
			if nonce := nonceOf(verbReset, text); ok && nonce != "" {
				l.reset(nonce)
			}
		}
	}
}

func (l *Listener) reset(nonce string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.nonce = nonce
	l.drop()
	close(l.changed)
	l.changed = make(chan struct{})
}

// drop ends the current stream and wakes whoever is blocked on the data port. The caller holds l.mu.
func (l *Listener) drop() {
	if l.current != nil {
		l.current.closed = true
		l.current = nil
	}
	l.data.SetReadDeadline(past())
	l.data.SetWriteDeadline(past())
}

func (l *Listener) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
		l.drop()
		close(l.changed)
	}
}

// Accept waits for the next stream. It ends the one that it returned before.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		nonce, err := l.awaitReset()
		if err != nil {
			return nil, err
		}
		if conn := l.handshake(nonce); conn != nil {
			return conn, nil
		}
	}
}

func (l *Listener) awaitReset() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.nonce == "" && l.err == nil {
		changed := l.changed
		l.mu.Unlock()
		<-changed
		l.mu.Lock()
	}
	if l.err != nil {
		return "", l.err
	}
	l.drop()
	return l.nonce, nil
}

func (l *Listener) forget(nonce string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.nonce == nonce {
		l.nonce = ""
	}
}

// begin lets the data port block again, unless another reset came in the meantime.
func (l *Listener) begin(nonce string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || l.nonce != nonce {
		return false
	}
	l.data.SetReadDeadline(time.Time{})
	l.data.SetWriteDeadline(time.Time{})
	return true
}

// handshake reads the data port up to the go line of that nonce. It returns nil when the port failed or another reset came.
func (l *Listener) handshake(nonce string) net.Conn {
	l.reading.Lock() // what the last stream had in the port returns at once: drop woke it
	defer l.reading.Unlock()
	l.writing.Lock()
	defer l.writing.Unlock()
	if !l.begin(nonce) {
		return nil
	}
	buf := make([]byte, 32<<10)
	var scan lines
	for ended := false; ; {
		n, err := l.data.Read(buf)
		switch {
		case err == nil:
			ended = false
		case errors.Is(err, io.EOF) && !ended:
			// The reset can overtake the news that its host is there, since they come by different queues.
			ended = true
		default:
			l.forget(nonce)
			return nil
		}
		for b := buf[:n]; len(b) > 0; {
			text, rest, ok := scan.next(b)
			b = rest
			switch {
			case !ok:
			case nonceOf(verbSync, text) == nonce:
				if _, err := l.data.Write(line(verbHeard, nonce)); err != nil {
					l.forget(nonce)
					return nil
				}
			case nonceOf(verbGo, text) == nonce:
				if _, err := l.data.Write(line(verbReady, nonce)); err != nil {
					l.forget(nonce)
					return nil
				}
				return l.establish(nonce, b)
			}
		}
	}
}

func (l *Listener) establish(nonce string, rest []byte) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || l.nonce != nonce {
		return nil
	}
	l.nonce = "" // used: only a new reset makes another stream
	c := &guestConn{l: l, rest: append([]byte(nil), rest...)}
	l.current = c
	return c
}

// Close ends the current stream, closes both ports and makes Accept fail; twice is fine.
func (l *Listener) Close() error {
	l.fail(net.ErrClosed)
	return errors.Join(l.data.Close(), l.control.Close())
}

func past() time.Time { return time.Unix(1, 0) }
