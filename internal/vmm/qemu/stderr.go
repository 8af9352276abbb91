package qemu

import (
	"os"
	"strings"
	"sync"
)

// maxStderr is how much of what QEMU complains about is kept, the last of it.
const maxStderr = 4 << 10

// stderr keeps QEMU's last words.
type stderr struct {
	file  *os.File
	ended chan struct{} // closed when nothing more will come

	mu   sync.Mutex
	tail []byte
}

// newStderr owns file, the reading end of a pipe.
func newStderr(file *os.File) *stderr {
	e := &stderr{file: file, ended: make(chan struct{})}
	go e.read()
	return e
}

func (e *stderr) read() {
	defer close(e.ended)
	defer e.file.Close()
	chunk := make([]byte, 1<<10)
	for {
		n, err := e.file.Read(chunk)
		e.mu.Lock()
		e.tail = append(e.tail, chunk[:n]...)
		if over := len(e.tail) - maxStderr; over > 0 {
			e.tail = append([]byte(nil), e.tail[over:]...)
		}
		e.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// words returns what QEMU complained about last, on one line, without the program's name and the arguments that it
// repeats.
func (e *stderr) words() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var said []string
	for line := range strings.Lines(string(e.tail)) {
		_, text, ok := strings.Cut(line, ": ")
		if !ok || !strings.HasPrefix(line, "qemu") {
			text = line
		}
		text = printable(text)
		if text == "" || strings.HasPrefix(text, "warning:") || strings.Contains(text, ": info: ") {
			continue
		}
		if _, rest, ok := strings.Cut(text, "}: "); ok && strings.HasPrefix(text, "-") {
			text = rest
		}
		said = append(said, text)
	}
	return strings.Join(said, "; ")
}

func (e *stderr) close() {
	e.file.Close()
	<-e.ended
}
