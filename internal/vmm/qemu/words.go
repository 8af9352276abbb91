package qemu

import (
	"io"
	"os"
	"strings"
	"sync"
	"unicode"
)

// maxWords caps what is kept of what a VMM said on its standard error.
const maxWords = 4 << 10

// words are the last words of a VMM: the end of its standard error. QEMU ignores the broken pipe that a later daemon's
// absence is.
type words struct {
	mu   sync.Mutex
	text []byte
	done chan struct{}
}

// lastWords returns words and the file whose text they collect; the caller closes its copy once the VMM has its own.
func lastWords() (*words, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	said := &words{done: make(chan struct{})}
	go said.collect(r)
	return said, w, nil
}

func (w *words) collect(r io.ReadCloser) {
	defer close(w.done)
	defer r.Close()
	buffer := make([]byte, 1<<10)
	for {
		n, err := r.Read(buffer)
		w.mu.Lock()
		w.text = append(w.text, buffer[:n]...)
		w.text = w.text[max(0, len(w.text)-maxWords):]
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// String waits until the VMM has said all and returns it as one line without control characters.
func (w *words) String() string {
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(w.text), "?"), func(r rune) bool {
		return !unicode.IsGraphic(r)
	}), "; ")
}
