package agent

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

const (
	chunk = 32 << 10

	// orphanGrace is how long an output is followed after the command's end when something else keeps it open.
	orphanGrace = 100 * time.Millisecond
	// pipeCapacity is the most that the command itself can have left in a pipe.
	pipeCapacity = 64 << 10
)

// pump keeps what comes from r until it ends. Once the command has ended r's deadline is set: what an orphan says after
// it goes nowhere, but is read, so that it is not ended by a closed pipe.
func (c *command) pump(o *output, r Reader) {
	buf := make([]byte, chunk)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			c.keep(o, buf[:n])
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.drain(o, r, buf)
		}
		if err == nil {
			continue
		}
		c.mu.Lock()
		o.ended = true
		c.notify()
		c.mu.Unlock()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.SetReadDeadline(time.Time{})
			discard(r)
		}
		r.Close()
		return
	}
}

// drain keeps what the command itself left in the pipe: a slow reader of its output, or a processor that others were busy
// with, may have kept us from it until after the deadline.
func (c *command) drain(o *output, r Reader, buf []byte) {
	for total := 0; total < pipeCapacity; {
		n := readNow(r, buf)
		if n == 0 {
			return
		}
		c.keep(o, buf[:n])
		total += n
	}
}

// readNow reads what is there at this moment, 0 bytes when nothing is. It asks the kernel and no clock: on a starved
// processor any deadline can be over before the read that it was set for has begun. What is no file holds nothing.
func readNow(r Reader, b []byte) (n int) {
	file, ok := r.(syscall.Conn)
	if !ok {
		return 0
	}
	r.SetReadDeadline(time.Time{}) // one that is over refuses every read
	raw, err := file.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Read(func(fd uintptr) bool { // fails when the file is closed: then nothing is there
		for {
			var err error
			if n, err = syscall.Read(int(fd), b); !errors.Is(err, syscall.EINTR) {
				return true
			}
		}
	})
	return max(n, 0)
}

// discard reads r to its end, into nothing.
func discard(r io.Reader) {
	buf := make([]byte, 4<<10)
	for {
		if _, err := r.Read(buf); err != nil {
			return
		}
	}
}

// keep adds b to an output. While somebody is attached it waits until they have room for it, which holds up the process.
func (c *command) keep(o *output, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.awaited && o.ring.end-o.sent+int64(len(b)) > maxUnsent {
		c.await()
	}
	if c.released {
		return
	}
	o.ring.write(b)
	c.notify()
}
