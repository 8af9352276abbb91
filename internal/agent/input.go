package agent

import (
	"io"

	"banger/internal/model"
)

// inputWindow is how much input is held for a command that does not read. The host sends no more than that beyond what
// was read, so that the connection is never held up by input.
const inputWindow = 256 << 10

// input is a command's standard input. It is guarded by its command's mu.
type input struct {
	open   bool // the command was started with one
	ended  bool // nothing more is wanted: the command has ended or has closed it
	closed bool // the host has sent all
	queue  []byte
	held   int // bytes in the queue or being written
	owed   int // credit to give back to the host
}

// end drops what is queued: it would go nowhere.
func (in *input) end() {
	in.ended = true
	in.owed += len(in.queue)
	in.held -= len(in.queue)
	in.queue = nil
}

// push takes input from the host.
func (c *command) push(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := &c.stdin
	switch {
	case !in.open && c.proc != nil:
		return model.Errorf(model.ErrInvalid, "the command was started without standard input")
	case in.closed:
		return model.Errorf(model.ErrInvalid, "the command's input was closed before")
	case in.ended || !in.open:
		in.owed += len(b) // into nothing, as a closed pipe would
	case in.held+len(b) > inputWindow:
		return model.Errorf(model.ErrInvalid, "more input than there was credit for")
	default:
		in.queue = append(in.queue, b...)
		in.held += len(b)
	}
	c.notify()
	return nil
}

func (c *command) closeInput() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stdin.closed = true
	c.notify()
}

// feed writes the input to the command as it reads, and closes it after the last byte.
func (c *command) feed(w io.WriteCloser) {
	defer w.Close()
	for {
		b := c.nextInput()
		if b == nil {
			return
		}
		_, err := w.Write(b)
		c.mu.Lock()
		c.stdin.held -= len(b)
		c.stdin.owed += len(b)
		if err != nil {
			c.stdin.end()
		}
		c.notify()
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// nextInput waits for input; nil means that there will be none.
func (c *command) nextInput() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := &c.stdin
	for len(in.queue) == 0 && !in.closed && !in.ended {
		c.await()
	}
	if in.ended || len(in.queue) == 0 {
		return nil
	}
	b := in.queue
	if len(b) > chunk {
		in.queue = b[chunk:]
		return b[:chunk]
	}
	in.queue = nil
	return b
}
