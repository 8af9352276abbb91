package cli

import (
	"os"
	"sync"

	"golang.org/x/term"
)

// terminal is the terminal on our standard input, which a guest program may be given.
type terminal struct {
	file *os.File

	mu    sync.Mutex
	saved *term.State // how it was before raw; nil when it is not raw
}

func newTerminal(in any) *terminal { return &terminal{file: fileOf(in)} }

// raw hands every key to the guest, Ctrl-C and Ctrl-Z included. Twice is fine.
func (t *terminal) raw() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	saved, err := term.MakeRaw(int(t.file.Fd()))
	if err == nil && t.saved == nil {
		t.saved = saved
	}
	return err
}

// restore puts the terminal back to how it was. Twice is fine.
func (t *terminal) restore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.saved != nil {
		_ = term.Restore(int(t.file.Fd()), t.saved)
		t.saved = nil
	}
}

// isRaw says whether raw was called and restore not yet.
func (t *terminal) isRaw() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.saved != nil
}

// guard is deferred by goroutines that run beside the one which restores: should they panic, the terminal is put back
// before the process ends.
func (t *terminal) guard() {
	if p := recover(); p != nil {
		t.restore()
		panic(p)
	}
}

// size returns the terminal's rows and columns; 0, 0 when it has none.
func (t *terminal) size() (rows, cols uint16) {
	if t.file == nil {
		return 0, 0
	}
	w, h, err := term.GetSize(int(t.file.Fd()))
	if err != nil || w < 0 || h < 0 || w > 65535 || h > 65535 {
		return 0, 0
	}
	return uint16(h), uint16(w)
}
