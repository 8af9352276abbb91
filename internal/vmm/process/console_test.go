package process

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConsoleSeesPanics(t *testing.T) {
	t.Parallel()
	const words = "Kernel panic - not syncing: Attempted to kill init!"
	for name, test := range map[string]struct {
		chunks []string
		want   string
	}{
		"none":         {[]string{"hello\n", "panic\n"}, ""},
		"whole":        {[]string{"[    1.0] " + words + "\r\nmore\n"}, words},
		"split":        {[]string{"x\n[    1.0] Kernel pa", "nic - not syn", "cing: Attempted to kill init!", "\n"}, words},
		"cut off":      {[]string{"[    1.0] " + words}, words},
		"first counts": {[]string{words + "\n" + panicMark + ": second\n"}, words},
		"escaped":      {[]string{panicMark + ": \x1b[31m\xff\n"}, panicMark + ":  [31m"},
		"long line":    {[]string{strings.Repeat("x", 10_000) + "\n" + words + "\n"}, words},
		"endless":      {[]string{panicMark + ": " + strings.Repeat("y", 100_000)}, panicMark + ": " + strings.Repeat("y", 512-len(panicMark)-2)},
	} {
		ours, theirs := net.Pipe()
		c := NewConsole(ours)
		for _, chunk := range test.chunks {
			io.WriteString(theirs, chunk)
		}
		theirs.Close()
		<-c.ended
		if got := c.Panicked(); got != test.want {
			t.Errorf("%s: %.200q", name, got)
		}
	}
}

func TestConsoleNeverHoldsTheGuest(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	c := NewConsole(ours)
	r, err := c.Take()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Take(); err == nil {
		t.Error("the console was handed out twice")
	}
	// Nobody reads meanwhile: a pipe has no buffer, so every write that returns was taken by the pump.
	line := []byte(strings.Repeat("z", 1023) + "\n")
	for range 3 * maxConsole / len(line) {
		if _, err := theirs.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	io.WriteString(theirs, "the end\n")
	theirs.Close()
	said, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(said) > maxConsole+100 || !bytes.HasSuffix(said, []byte("the end\n")) || !bytes.Contains(said, []byte("bytes of the console were dropped]")) {
		t.Errorf("%d bytes, ending in %q", len(said), said[len(said)-20:])
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
}

func TestConsoleReaderCloses(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	c := NewConsole(ours)
	defer c.Close()
	r, err := c.Take()
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error)
	go func() {
		_, err := r.Read(make([]byte, 1))
		read <- err
	}()
	r.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read after Close: %v", err)
	}
	if _, err := io.WriteString(theirs, "unread"); err != nil { // the guest goes on
		t.Error(err)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	tail := NewTail(r)
	for range 100 {
		io.WriteString(w, strings.Repeat("w", 1000))
	}
	io.WriteString(w, "last")
	w.Close()
	<-tail.Ended()
	if got := tail.Text(); len(got) != maxTail || !strings.HasSuffix(got, "last") {
		t.Errorf("%d bytes are kept", len(got))
	}
	tail.Close()
	line := strings.Repeat("l", maxTail/4-1) + "\n"
	for kept, said := range map[string]string{
		strings.Repeat(line, 3) + "end": strings.Repeat(line, 4) + "end", // half a line is not among what is kept
		strings.Repeat(line, 4):         "lost\n" + strings.Repeat(line, 4),
	} {
		tail := NewTail(io.NopCloser(strings.NewReader(said)))
		<-tail.Ended()
		if got := tail.Text(); got != kept {
			t.Errorf("of %d bytes %d are kept: %.10q…", len(said), len(got), got)
		}
	}
	if got := (*Tail)(nil).Text(); got != "" {
		t.Errorf("nothing heard: %q", got)
	}
}
