package main

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	consoleTail = 8 << 10  // shown when the lab stalls
	consoleLog  = 16 << 20 // kept of all that it says
)

// panics are what a Linux kernel says when it cannot go on.
var panics = [][]byte{[]byte("Kernel panic - not syncing"), []byte("kernel BUG at"), []byte("double fault:")}

// console reads what the lab's kernel and systemd say.
type console struct {
	mu       sync.Mutex
	tail     []byte
	kept     int
	last     time.Time
	panicked chan struct{} // closed at a panic
	once     sync.Once
	ended    chan struct{} // closed at the end
}

func readConsole(in io.ReadCloser, log io.Writer) *console {
	c := &console{last: time.Now(), panicked: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		defer in.Close()
		buf := make([]byte, 4096)
		for {
			n, err := in.Read(buf)
			c.add(buf[:n], log)
			if err != nil {
				return
			}
		}
	}()
	return c
}

func (c *console) add(text []byte, log io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = time.Now()
	if c.kept < consoleLog {
		n, _ := log.Write(text[:min(len(text), consoleLog-c.kept)])
		c.kept += n
	}
	c.tail = append(c.tail, text...)
	c.tail = append(c.tail[:0], c.tail[max(0, len(c.tail)-consoleTail):]...)
	for _, p := range panics {
		if bytes.Contains(c.tail, p) {
			c.once.Do(func() { close(c.panicked) })
		}
	}
}

// text is the end of what was said, without what a terminal would obey.
func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return printable(string(c.tail))
}

// spoken is when something was said last.
func (c *console) spoken() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}
