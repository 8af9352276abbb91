// Package wire is what the two ends of the lab say to each other, as JSON, one message a line.
package wire

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// The names of the lab's virtio-serial ports and the serials of its disks.
const (
	Port         = "lab.wire"
	DiskRoot     = "lab-root"
	DiskModules  = "lab-modules"
	DiskPayload  = "lab-payload"
	DiskImages   = "lab-images"
	Payload      = "/opt/lab"      // where the payload is mounted in the lab
	Images       = "/srv/lab/data" // the data home of root's scenarios, with the images and kernels made outside
	Results      = "/run/lab"      // what a scenario leaves in there is sent out
	Kept         = "/var/lib/lab"  // the directories of scenarios that go on after a reboot
	Beat         = 2 * time.Second // between two signs of life of the lab
	maxLine      = 1 << 20
	maxChunk     = 32 << 10
	ChunksToSend = maxChunk
)

// Request is what the host asks for, one at a time but for the resizes of a shell's terminal.
type Request struct {
	Op      string        // one of the Op constants
	Name    string        // OpRun: the scenario
	User    bool          // OpRun, OpExec: as the ordinary user
	Keep    bool          // OpRun, OpExec: what it leaves running is left so
	Limit   time.Duration // OpRun, OpExec: then it is ended
	Command string        // OpExec: for bash
	Env     []string      // OpRun, OpExec
	Rows    uint16        // OpShell, OpResize
	Cols    uint16
	Term    string
}

// The requests.
const (
	OpRun      = "run"
	OpExec     = "exec"
	OpShell    = "shell"
	OpResize   = "resize"
	OpReboot   = "reboot"
	OpPoweroff = "poweroff"
)

// Event is what the lab tells.
type Event struct {
	Kind   string        // one of the Kind constants
	Text   string        `json:",omitempty"` // KindOutput; KindDone: why it could not be run
	File   string        `json:",omitempty"` // KindFile: its name, without directories
	Data   []byte        `json:",omitempty"` // KindFile: the next part of it
	Code   int           `json:",omitempty"` // KindDone: the exit code; 128 and more for a signal
	Over   bool          `json:",omitempty"` // KindDone: the limit was over
	Took   time.Duration `json:",omitempty"` // KindDone
	Uptime time.Duration `json:",omitempty"` // KindHello
}

// The events.
const (
	KindHello  = "hello"  // the lab is up
	KindBeat   = "beat"   // it lives
	KindOutput = "output" // of what runs
	KindFile   = "file"
	KindDone   = "done" // the request was carried out
)

// Conn writes and reads messages. Writing is safe for concurrent use.
type Conn struct {
	mu  sync.Mutex
	out io.Writer
	in  *bufio.Scanner
}

// NewConn speaks over rw.
func NewConn(rw io.ReadWriter) *Conn {
	c := &Conn{out: rw, in: bufio.NewScanner(rw)}
	c.in.Buffer(nil, maxLine)
	return c
}

// Send writes one message.
func (c *Conn) Send(message any) error {
	raw, err := json.Marshal(message)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.out.Write(append(raw, '\n'))
	return err
}

// Receive reads the next message into one; io.EOF at the end. Lines that are no JSON are left out: a port keeps what was
// half said before a reset.
func (c *Conn) Receive(message any) error {
	for c.in.Scan() {
		if err := json.Unmarshal(c.in.Bytes(), message); err == nil {
			return nil
		}
	}
	if err := c.in.Err(); err != nil {
		return fmt.Errorf("cannot read from the other end of the lab: %w", err)
	}
	return io.EOF
}

// Output is a writer that sends what is written to it as output, in parts of whole lines where it can.
type Output struct{ Conn *Conn }

func (o Output) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		part := p[:min(len(p), maxChunk)]
		if err := o.Conn.Send(Event{Kind: KindOutput, Text: string(part)}); err != nil {
			return n - len(p), err
		}
		p = p[len(part):]
	}
	return n, nil
}

// SendFile sends a file's content.
func (c *Conn) SendFile(name string, in io.Reader) error {
	buf := make([]byte, maxChunk)
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 {
			if err := c.Send(Event{Kind: KindFile, File: name, Data: buf[:n]}); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		default:
			return err
		}
	}
}
