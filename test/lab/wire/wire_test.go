package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

type buffer struct{ bytes.Buffer }

func TestFilesArriveWhole(t *testing.T) {
	t.Parallel()
	b := &buffer{}
	c := NewConn(b)
	content := strings.Repeat("0123456789abcdef", 3*maxChunk/16+1)
	if err := c.SendFile("name", strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if _, err := (Output{c}).Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	var file, said strings.Builder
	for {
		var e Event
		err := c.Receive(&e)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		file.Write(e.Data)
		said.WriteString(e.Text)
	}
	if file.String() != content || said.String() != content {
		t.Errorf("%d and %d bytes arrived of %d", file.Len(), said.Len(), len(content))
	}
}

func TestReceive(t *testing.T) {
	t.Parallel()
	b := &buffer{}
	b.WriteString(`{"Kind":"out` + "\n" + "rubbish\n" + `{"Kind":"hello"}` + "\n" + strings.Repeat("x", maxLine+1) + "\n")
	c := NewConn(b)
	var e Event
	if err := c.Receive(&e); err != nil || e.Kind != KindHello {
		t.Errorf("%+v, %v", e, err)
	}
	if err := c.Receive(&e); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a line without an end was taken: %v", err)
	}
}
