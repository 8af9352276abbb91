package process

import (
	"bytes"
	"io"
	"sync"
)

// maxTail is how much of what a VMM says is kept at most, the last of it, in whole lines.
const maxTail = 4 << 10

// Tail keeps the last words of a VMM.
type Tail struct {
	stream io.ReadCloser
	ended  chan struct{} // closed when nothing more will come

	mu   sync.Mutex
	tail []byte
}

// NewTail owns stream and reads it until it ends or is closed.
func NewTail(stream io.ReadCloser) *Tail {
	t := &Tail{stream: stream, ended: make(chan struct{})}
	go t.read()
	return t
}

func (t *Tail) read() {
	defer close(t.ended)
	defer t.stream.Close()
	chunk := make([]byte, 1<<10)
	for {
		n, err := t.stream.Read(chunk)
		t.mu.Lock()
		t.tail = append(t.tail, chunk[:n]...)
		if over := len(t.tail) - maxTail; over > 0 {
			_, whole, found := bytes.Cut(t.tail[over-1:], []byte("\n")) // half a line cannot be told from a complaint
			if !found {
				whole = t.tail[over:]
			}
			t.tail = bytes.Clone(whole)
		}
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Text returns what is kept. A nil Tail heard nothing.
func (t *Tail) Text() string {
	if t == nil {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.tail)
}

// Ended is closed when nothing more will come.
func (t *Tail) Ended() <-chan struct{} { return t.ended }

// Close ends the stream and waits for its reader. Twice is fine.
func (t *Tail) Close() {
	t.stream.Close()
	<-t.ended
}
