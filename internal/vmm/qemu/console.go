package qemu

import (
	"bytes"
	"net"
	"sync/atomic"
)

// panicText is how Linux begins the report of its own end (kernel/panic.c).
var panicText = []byte("Kernel panic - not syncing")

// console is the guest's serial line. It notices a panic on its way: the microvm machine has no device that tells.
type console struct {
	net.Conn
	tail     []byte // of what was read, one byte short of panicText
	panicked atomic.Bool
}

func newConsole(conn net.Conn) *console { return &console{Conn: conn} }

// Read is for one goroutine.
func (c *console) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	seen := append(c.tail, p[:n]...)
	if bytes.Contains(seen, panicText) {
		c.panicked.Store(true)
	}
	c.tail = bytes.Clone(seen[max(0, len(seen)-len(panicText)+1):])
	return n, err
}
