package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"banger/internal/image/layers/layerstest"
)

// entry writes a tar header from a few words:
//
//	d NAME                 a directory
//	f NAME [CONTENT]       a file
//	s NAME TARGET          a symbolic link
//	l NAME TARGET          a hard link
//	c|b NAME MAJOR MINOR   a device
//	p NAME                 a FIFO
//
// Further words of the form key=value set mode (octal), uid, gid, time (of modification), and x:NAME (an attribute).
func entry(t testing.TB, line string) (*tar.Header, string) {
	t.Helper()
	var words []string
	h := &tar.Header{Mode: 0o644, ModTime: time.Unix(1000, 0), Format: tar.FormatPAX}
	for i, w := range strings.Split(line, " ") {
		key, value, ok := strings.Cut(w, "=")
		if i < 2 || !ok {
			words = append(words, w)
			continue
		}
		var n int64
		switch key {
		case "mode":
			fmt.Sscanf(value, "%o", &h.Mode)
		case "uid":
			fmt.Sscan(value, &h.Uid)
		case "gid":
			fmt.Sscan(value, &h.Gid)
		case "time":
			fmt.Sscan(value, &n)
			h.ModTime = time.Unix(n, 0)
		default:
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+strings.TrimPrefix(key, "x:")] = value
		}
	}
	h.Name = words[1]
	content := ""
	switch words[0] {
	case "d":
		h.Typeflag = tar.TypeDir
	case "f":
		h.Typeflag = tar.TypeReg
		if len(words) > 2 {
			content = words[2]
		}
		h.Size = int64(len(content))
	case "s":
		h.Typeflag, h.Linkname = tar.TypeSymlink, words[2]
	case "l":
		h.Typeflag, h.Linkname = tar.TypeLink, words[2]
	case "p":
		h.Typeflag = tar.TypeFifo
	case "c", "b":
		h.Typeflag = map[string]byte{"c": tar.TypeChar, "b": tar.TypeBlock}[words[0]]
		fmt.Sscan(words[2], &h.Devmajor)
		fmt.Sscan(words[3], &h.Devminor)
	default:
		t.Fatalf("unknown line %q", line)
	}
	return h, content
}

// archive makes a tar of lines.
func archive(t testing.TB, lines ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, line := range lines {
		h, content := entry(t, line)
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, data []byte, options ...zstd.EOption) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, options...)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func blob(data []byte) Layer {
	return Layer{Size: int64(len(data)), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

func blobs(data ...[]byte) []Layer {
	var ls []Layer
	for _, d := range data {
		ls = append(ls, blob(d))
	}
	return ls
}

// way is one of the ways in which layers come and are kept.
type way struct {
	name    string
	pack    func(testing.TB, []byte) []byte
	scratch bool
	once    bool
}

func ways() []way {
	return []way{
		{"plain", func(_ testing.TB, d []byte) []byte { return d }, false, false},
		{"gzip kept", gzipped, true, false},
		{"zstd read twice", func(t testing.TB, d []byte) []byte { return zstded(t, d) }, false, false},
		{"gzip read once", gzipped, false, true},
	}
}

// flat runs Flatten over tars and parses what comes out.
func (w way) flat(t testing.TB, o Options, tars ...[]byte) (layerstest.Image, Summary, error) {
	t.Helper()
	var ls []Layer
	for _, data := range tars {
		ls = append(ls, blob(w.pack(t, data)))
	}
	if w.scratch {
		o.Scratch = t.TempDir()
	}
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	o.Once = w.once
	var out bytes.Buffer
	sum, err := Flatten(context.Background(), &out, ls, o)
	if errors.Is(err, ErrTwice) {
		out.Reset()
		o.Once = false
		sum, err = Flatten(context.Background(), &out, ls, o)
	}
	if err != nil {
		return nil, sum, err
	}
	return parse(t, out.Bytes()), sum, nil
}

// parse reads a flattened tar and checks what the ext4 writer needs of it.
func parse(t testing.TB, data []byte) layerstest.Image {
	t.Helper()
	m := layerstest.Image{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return m
		}
		if err != nil {
			t.Fatalf("what came out is no tar: %v", err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if m[h.Name] != nil {
			t.Fatalf("%q is there twice", h.Name)
		}
		if dir, _ := split(h.Name); h.Name != "." && (m[dir] == nil || m[dir].Kind != tar.TypeDir) {
			t.Fatalf("%q comes before its directory, or below something else", h.Name)
		}
		if h.Typeflag == tar.TypeLink {
			if m[h.Linkname] == nil || m[h.Linkname].Kind == tar.TypeDir {
				t.Fatalf("%q comes before what it is linked to, %q", h.Name, h.Linkname)
			}
			m[h.Name] = m[h.Linkname]
			continue
		}
		m[h.Name] = layerstest.FileOf(h, string(content))
	}
}
