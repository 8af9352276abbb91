package agent

import (
	"os"
	"testing"
	"time"
)

// TestReadNow reads what an ended command left, though every deadline is over, and does not wait for an orphan.
func TestReadNow(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, 16)
	if n := readNow(r, buf); n != 0 {
		t.Errorf("read %d bytes from an empty pipe", n)
	}
	if _, err := w.WriteString("left"); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := readNow(r, buf); string(buf[:n]) != "left" {
		t.Errorf("read %q", buf[:n])
	}
	w.Close()
	if n := readNow(r, buf); n != 0 {
		t.Errorf("read %d bytes after the end", n)
	}
}

// TestOutputOfAnEndedCommandIsKept has the deadline pass before the output is read.
func TestOutputOfAnEndedCommandIsKept(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // an orphan's
	if _, err := w.WriteString("said before the end"); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	c := newCommand("c", newTable())
	go c.pump(&c.stdout, r)
	c.mu.Lock()
	for !c.stdout.ended {
		c.await()
	}
	got, _ := c.stdout.next()
	c.mu.Unlock()
	if string(got) != "said before the end" {
		t.Errorf("kept %q", got)
	}
}
