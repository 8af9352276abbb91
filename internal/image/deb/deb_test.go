package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func dataTar(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range []string{"./boot/vmlinuz-6", "./../escape"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: 3}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func archive(members ...[2]string) string {
	text := arMagic
	for _, m := range members {
		text += fmt.Sprintf("%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", m[0], 0, 0, 0, "100644", len(m[1]), m[1])
		if len(m[1])%2 == 1 {
			text += "\n"
		}
	}
	return text
}

func walk(text string) (string, error) {
	var seen strings.Builder
	err := Walk(strings.NewReader(text), func(name string, _ *tar.Header, content io.Reader) error {
		data, err := io.ReadAll(content)
		fmt.Fprintf(&seen, "%s=%s ", name, data)
		return err
	})
	return seen.String(), err
}

func TestWalk(t *testing.T) {
	t.Parallel()
	plain := dataTar(t)
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, _ = g.Write(plain)
	_ = g.Close()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, data := range map[string][]byte{"": plain, ".gz": gz.Bytes(), ".zst": z.EncodeAll(plain, nil)} {
		text := archive([2]string{"debian-binary", "2.0\n"}, [2]string{"control.tar.xz", "odd"}, [2]string{"data.tar" + suffix, string(data)})
		got, err := walk(text)
		if want := "boot/vmlinuz-6=abc escape=abc "; got != want || err != nil {
			t.Errorf("%q: got %q, %v; want %q", suffix, got, err, want)
		}
		for _, cut := range []int{4, 30, 100, len(text) * 2 / 3} {
			if got, err := walk(text[:cut]); err == nil {
				t.Errorf("%q cut at %d was read without an error: %q", suffix, cut, got)
			}
		}
	}
}

func TestWalkRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"not an archive":       "hello, this is text",
		"no data":              archive([2]string{"debian-binary", "2.0\n"}),
		"unknown compression":  archive([2]string{"data.tar.lz9", "x"}),
		"broken compression":   archive([2]string{"data.tar.xz", "no xz"}),
		"broken member header": arMagic + strings.Repeat("x", headerSize),
	} {
		if got, err := walk(text); err == nil {
			t.Errorf("%s: no error, %q", name, got)
		}
	}
}
