package cpio

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestArchive(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := NewWriter(&out)
	entries := []Entry{
		{Name: "dev", Mode: TypeDir | 0o755},
		{Name: "dev/console", Mode: TypeChar | 0o600, Major: 5, Minor: 1},
		{Name: "init", Mode: TypeRegular | 0o755, Size: 5},
	}
	for _, e := range entries {
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(w, "agent"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// The fields, in order: magic, inode, mode, uid, gid, links, mtime, size, dev 2x, rdev 2x, name length, checksum.
	want := "070701" + "00000001" + "000041ed" + "00000000" + "00000000" + "00000002" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000004" + "00000000" + "dev\x00" + "\x00\x00" +
		"070701" + "00000002" + "00002180" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000005" + "00000001" + "0000000c" + "00000000" + "dev/console\x00" + "\x00\x00" +
		"070701" + "00000003" + "000081ed" + "00000000" + "00000000" + "00000001" + "00000000" + "00000005" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000005" + "00000000" + "init\x00" + "\x00" + "agent\x00\x00\x00" +
		"070701" + "00000000" + "00000000" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "0000000b" + "00000000" + "TRAILER!!!\x00" + "\x00\x00\x00"
	if got := out.String(); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	if got := ArchiveSize(entries...); got != int64(len(want)) {
		t.Errorf("ArchiveSize %d, want %d", got, len(want))
	}
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(w *Writer) error{
		"absolute name":       func(w *Writer) error { return w.Add(Entry{Name: "/x", Mode: TypeDir}) },
		"no name":             func(w *Writer) error { return w.Add(Entry{Mode: TypeDir}) },
		"directory with size": func(w *Writer) error { return w.Add(Entry{Name: "x", Mode: TypeDir, Size: 1}) },
		"over 4 GiB":          func(w *Writer) error { return w.Add(Entry{Name: "x", Mode: TypeRegular, Size: 1 << 32}) },
		"too many bytes":      func(w *Writer) error { _, err := w.Write([]byte("x")); return err },
		"too few bytes": func(w *Writer) error {
			return errors.Join(w.Add(Entry{Name: "x", Mode: TypeRegular, Size: 1}), w.Close())
		},
	} {
		w := NewWriter(io.Discard)
		if use(w) == nil {
			t.Errorf("%s: no error", name)
		}
		if err := w.Add(Entry{Name: "y", Mode: TypeDir}); err == nil || strings.Contains(err.Error(), `"y"`) {
			t.Errorf("%s: the writer goes on: %v", name, err)
		}
	}
}
