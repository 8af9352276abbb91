package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// maxConsole is how much of the console waits for its reader; when it is full the oldest half goes.
const maxConsole = 256 << 10

const panicMark = "Kernel panic - not syncing"

// Console pumps a guest's console to its one reader. The guest never waits for that reader, and the pump sees a panic go
// by even when there is none.
type Console struct {
	stream io.ReadCloser
	ended  chan struct{} // closed when nothing more will come

	mu      sync.Mutex
	changed *sync.Cond
	buf     []byte
	dropped int  // bytes, before buf
	taken   bool // Console was called
	unread  bool // the reader was closed
	over    bool
	line    []byte // the last, unfinished line, capped
	panic   string
}

// NewConsole owns stream and reads it until it ends or is closed.
func NewConsole(stream io.ReadCloser) *Console {
	c := &Console{stream: stream, ended: make(chan struct{})}
	c.changed = sync.NewCond(&c.mu)
	go c.pump()
	return c
}

func (c *Console) pump() {
	defer close(c.ended)
	chunk := make([]byte, 4<<10)
	for {
		n, err := c.stream.Read(chunk)
		c.mu.Lock()
		c.look(chunk[:n])
		if !c.unread {
			c.buf = append(c.buf, chunk[:n]...)
			if over := len(c.buf) - maxConsole; over > 0 {
				over += maxConsole / 2
				c.dropped += over
				c.buf = append([]byte(nil), c.buf[over:]...)
			}
		}
		c.over = err != nil
		c.changed.Broadcast()
		c.mu.Unlock()
		if err != nil {
			c.stream.Close()
			return
		}
	}
}

// look searches the lines that go by for a panic and keeps the first one's.
func (c *Console) look(b []byte) {
	const maxLine = 512
	for c.panic == "" && len(b) > 0 {
		part, rest, ended := bytes.Cut(b, []byte{'\n'})
		c.line = append(c.line, part[:min(len(part), maxLine-min(maxLine, len(c.line)))]...)
		b = rest
		if !ended {
			return
		}
		if i := bytes.Index(c.line, []byte(panicMark)); i >= 0 {
			c.panic = Printable(string(c.line[i:]))
		}
		c.line = c.line[:0]
	}
}

// Panicked returns the kernel's last words, or "". A nil Console heard nothing.
func (c *Console) Panicked() string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := bytes.Index(c.line, []byte(panicMark)); c.panic == "" && i >= 0 {
		return Printable(string(c.line[i:])) // the machine was gone before the line's end
	}
	return c.panic
}

// Take hands out the reader, once.
func (c *Console) Take() (io.ReadCloser, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken {
		return nil, errors.New("cannot read the console twice: it has a reader")
	}
	c.taken = true
	return consoleReader{c}, nil
}

// Ended is closed when nothing more will come.
func (c *Console) Ended() <-chan struct{} { return c.ended }

// Close ends the console and waits for its pump. Twice is fine.
func (c *Console) Close() {
	c.stream.Close()
	<-c.ended
}

// consoleReader is the console's one reader. Its end is the VMM's, or the Close of the machine.
type consoleReader struct{ c *Console }

func (r consoleReader) Read(p []byte) (int, error) {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.buf) == 0 && !c.over && !c.unread {
		c.changed.Wait()
	}
	if c.unread {
		return 0, net.ErrClosed
	}
	if c.dropped > 0 {
		mark := fmt.Sprintf("\n[%d bytes of the console were dropped]\n", c.dropped)
		c.buf, c.dropped = append([]byte(mark), c.buf...), 0
	}
	if len(c.buf) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	return n, nil
}

// Close lets the console go unread. Twice is fine.
func (r consoleReader) Close() error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.c.unread, r.c.buf = true, nil
	r.c.changed.Broadcast()
	return nil
}

// Printable makes text of a guest or of a VMM fit for a message: one line of plain characters.
func Printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s))
}
