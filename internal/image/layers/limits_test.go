package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"banger/internal/model"
)

func TestEachLimit(t *testing.T) {
	t.Parallel()
	small := func(change func(*Limits)) Limits {
		l := DefaultLimits()
		change(&l)
		return l
	}
	mixed := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{}).Read(mixed)
	many := bytes.Repeat(append(make([]byte, 60<<10), mixed[:16]...), 400)
	for _, c := range []struct {
		name   string
		limits Limits
		layers [][]byte
		key    string
	}{
		{"bytes of a file", small(func(l *Limits) { l.Bytes = 9 }), lined(t, "f a 0123456789"), limitBytes},
		{"bytes of files", small(func(l *Limits) { l.Bytes = 8 << 10 }), [][]byte{tarOf(oldSparse("a", "x", 5<<10, 1, 1)), tarOf(oldSparse("b", "x", 5<<10, 1, 1))}, limitBytes},
		{"bytes of the streams", small(func(l *Limits) { l.Bytes = 3000 }), lined(t, "d a", "d b"), limitBytes},
		{"bytes behind the end", small(func(l *Limits) { l.Bytes = 64 << 10 }), [][]byte{append(archive(t, "d a"), mixed...)}, limitBytes},
		{"ratio, gzip", DefaultLimits(), [][]byte{gzipped(t, append(archive(t, "d a"), many...))}, limitRatio},
		{"ratio, zstd", DefaultLimits(), [][]byte{zstded(t, append(archive(t, "d a"), many...))}, limitRatio},
		{"entries", small(func(l *Limits) { l.Entries = 3 }), lined(t, "d a\nd b", "d c\nd d"), limitEntries},
		{"the same entry", small(func(l *Limits) { l.Entries = 3 }), lined(t, "d a\nd a\nd a\nd a"), limitEntries},
		{"implied entries", small(func(l *Limits) { l.Entries = 3 }), lined(t, "f a/b/c/d/e"), limitEntries},
		{"whiteouts", small(func(l *Limits) { l.Entries = 3 }), lined(t, "f .wh.a\nf .wh.b\nf .wh.c\nf .wh.d"), limitEntries},
		{"path", small(func(l *Limits) { l.Path = 5 }), lined(t, "f a/b/c/d"), limitPath},
		{"path through a link", small(func(l *Limits) { l.Path = 5 }), lined(t, "s s ab/c\nf s/de"), limitPath},
		{"path of a target", small(func(l *Limits) { l.Path = 5 }), lined(t, "l s abcdef"), limitPath},
		{"depth", small(func(l *Limits) { l.Depth = 2 }), lined(t, "f a/b/c"), limitDepth},
		{"depth through a link", small(func(l *Limits) { l.Depth = 3 }), lined(t, "s s a/b/c\nf s/d"), limitDepth},
		{"layers", small(func(l *Limits) { l.Layers = 2 }), lined(t, "d a", "d b", "d c"), limitLayers},
		{"links followed", small(func(l *Limits) { l.Index = 1000 }), lined(t, "d d\ns s "+strings.Repeat("./", 50)+"d\n"+strings.Repeat("f s/x\n", 20)+"f y"), limitIndex},
		{"index", small(func(l *Limits) { l.Index = 10 }), lined(t, "s a "+strings.Repeat("x", 20)), limitIndex},
	} {
		for _, w := range ways()[:1] {
			_, _, err := w.flat(t, Options{Limits: c.limits}, c.layers...)
			var limit *LimitError
			if !errors.As(err, &limit) || limit.Limit != c.key || !errors.Is(err, model.ErrInvalid) {
				t.Errorf("%s: got %v, want the limit %s", c.name, err, c.key)
				continue
			}
			if text := err.Error(); !strings.HasPrefix(text, "cannot take the image: ") || !strings.HasSuffix(text, "raise "+c.key+" below [images] in config.toml") {
				t.Errorf("%s: %q", c.name, text)
			}
		}
	}
	if _, err := Flatten(t.Context(), io.Discard, blobs(archive(t, "d a")), Options{}); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("without limits: %v", err)
	}
	if _, err := Flatten(t.Context(), io.Discard, nil, Options{Limits: DefaultLimits()}); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("without layers: %v", err)
	}
}

// TestHonestImagesPass holds that what compresses well is taken as long as it is small.
func TestHonestImagesPass(t *testing.T) {
	t.Parallel()
	zeros := tarOf(raw{name: "a", kind: '0', content: strings.Repeat("\x00", 15<<20)})
	for _, w := range ways() {
		if _, sum, err := w.flat(t, Options{}, zeros); err != nil || sum.Bytes != 15<<20 {
			t.Errorf("%s: %+v, %v", w.name, sum, err)
		}
	}
}

// sparseGigabyte is a layer with one file of zeros.
func sparseGigabyte() []byte { return tarOf(oldSparse("zeros", "x", 1<<30, 512, 1, 1<<30, 0)) }

// TestMemoryDoesNotGrowWithContents runs alone: it looks at the whole process.
func TestMemoryDoesNotGrowWithContents(t *testing.T) {
	for _, o := range []Options{{}, {Scratch: t.TempDir()}, {Once: true}} {
		o.Limits = DefaultLimits()
		data := gzipped(t, sparseGigabyte())
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var peak atomic.Uint64
		out := writer1(func(p []byte) {
			var now runtime.MemStats
			if peak.Add(1)%500 == 1 {
				runtime.ReadMemStats(&now)
				if now.HeapInuse > 64<<20 {
					t.Errorf("%d bytes of heap in use", now.HeapInuse)
				}
			}
		})
		sum, err := Flatten(t.Context(), out, blobs(data), o)
		if err != nil || sum.Bytes != 1<<30 {
			t.Fatal(sum, err)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 32<<20 {
			t.Errorf("%d bytes were allocated for a gigabyte of zeros (kept %t, once %t)", got, o.Scratch != "", o.Once)
		}
	}
}

// TestIndexIsCompact measures what a name costs.
func TestIndexIsCompact(t *testing.T) {
	var tarred bytes.Buffer
	w := tar.NewWriter(&tarred)
	const files = 100_000
	for i := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("usr/lib/python3/dist-packages/pkg%d/module%d.py", i/50, i), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	var heap [2]runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&heap[0])
	first := true
	out := writer1(func([]byte) {
		if first { // the tree is whole by then
			first = false
			runtime.GC()
			runtime.ReadMemStats(&heap[1])
		}
	})
	if _, err := Flatten(t.Context(), out, blobs(tarred.Bytes()), Options{Limits: DefaultLimits()}); err != nil {
		t.Fatal(err)
	}
	each := int64(heap[1].HeapAlloc-heap[0].HeapAlloc) / files
	t.Logf("%d bytes for a name", each)
	if each > 600 {
		t.Errorf("%d bytes for a name", each)
	}
}

type writer1 func([]byte)

func (w writer1) Write(p []byte) (int, error) { w(p); return len(p), nil }

// watched is a layer that notes how it is used.
type watched struct {
	data         []byte
	opens, ends  atomic.Int32
	closed       atomic.Int32
	second       []byte // what later openings give
	failAt       int
	blockForever bool
}

func (w *watched) layer() Layer {
	return Layer{Open: func(ctx context.Context) (io.ReadCloser, error) {
		data := w.data
		if w.opens.Add(1) > 1 && w.second != nil {
			data = w.second
		}
		return &watchedReader{w: w, ctx: ctx, in: bytes.NewReader(data)}, nil
	}}
}

type watchedReader struct {
	w   *watched
	ctx context.Context
	in  *bytes.Reader
	n   int
}

func (r *watchedReader) Read(p []byte) (int, error) {
	if r.w.failAt > 0 && r.n >= r.w.failAt {
		if r.w.blockForever {
			<-r.ctx.Done()
			return 0, r.ctx.Err()
		}
		return 0, errors.New("connection reset")
	}
	n, err := r.in.Read(p[:min(len(p), 1000)])
	r.n += n
	if err == io.EOF {
		r.w.ends.Add(1)
	}
	return n, err
}

func (r *watchedReader) Close() error { r.w.closed.Add(1); return nil }

func TestLayersAreReadToTheirEnds(t *testing.T) {
	t.Parallel()
	padded := append(archive(t, "f a x", "f b y"), make([]byte, 100_000)...)
	for _, data := range [][]byte{padded, gzipped(t, padded), zstded(t, padded)} {
		for _, once := range []bool{false, true} {
			w := &watched{data: data}
			if _, err := Flatten(t.Context(), io.Discard, []Layer{w.layer()}, Options{Limits: DefaultLimits(), Once: once}); err != nil {
				t.Fatal(err)
			}
			if w.ends.Load() < 1 || w.opens.Load() != w.closed.Load() || (once && w.opens.Load() != 1) {
				t.Errorf("opened %d times, read to the end %d times, closed %d times", w.opens.Load(), w.ends.Load(), w.closed.Load())
			}
		}
	}
	hidden := &watched{data: archive(t, "f a x")}
	if _, err := Flatten(t.Context(), io.Discard, append([]Layer{hidden.layer()}, blobs(archive(t, "f .wh.a"))...), Options{Limits: DefaultLimits()}); err != nil || hidden.opens.Load() != 1 {
		t.Errorf("a layer with nothing left was opened %d times: %v", hidden.opens.Load(), err)
	}
}

func TestALayerThatChanges(t *testing.T) {
	t.Parallel()
	for name, second := range map[string][]byte{
		"size": archive(t, "f a xx"), "gone": archive(t, "d a"), "broken": []byte("no tar"), "empty": {}, "out": archive(t, "f ../x y"),
	} {
		w := &watched{data: archive(t, "f a x"), second: second}
		_, err := Flatten(t.Context(), io.Discard, []Layer{w.layer()}, Options{Limits: DefaultLimits()})
		if err == nil || model.KindOf(err) == nil || !strings.Contains(err.Error(), "layer 1 of 1") || w.closed.Load() != w.opens.Load() {
			t.Errorf("%s: %v; opened %d, closed %d", name, err, w.opens.Load(), w.closed.Load())
		}
	}
}

func TestFailuresAndCancel(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := t.TempDir()
	good := gzipped(t, archive(t, "f a "+strings.Repeat("x", 100)))
	broken := &watched{data: make([]byte, 1<<20), failAt: 2000}
	_, err := Flatten(t.Context(), io.Discard, []Layer{blob(good), broken.layer(), blob(good)}, Options{Limits: DefaultLimits(), Scratch: dir})
	if err == nil || !strings.Contains(err.Error(), "connection reset") || strings.Contains(err.Error(), "tar") || errors.Is(err, model.ErrCorrupt) {
		t.Errorf("a connection that breaks: %v", err)
	}
	for _, once := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		hangs := &watched{data: archive(t, "f a "+strings.Repeat("x", 5000)), failAt: 2000, blockForever: true}
		done := make(chan error)
		go func() {
			_, err := Flatten(ctx, io.Discard, []Layer{hangs.layer()}, Options{Limits: DefaultLimits(), Once: once})
			done <- err
		}()
		cancel()
		if err := <-done; !errors.Is(err, model.ErrCanceled) {
			t.Errorf("canceled (once %t): %v", once, err)
		}
		full := errors.New("the consumer gave up")
		r, w := io.Pipe()
		r.CloseWithError(full)
		if _, err := Flatten(t.Context(), w, blobs(archive(t, "f a "+strings.Repeat("x", 3<<20))), Options{Limits: DefaultLimits(), Once: once}); !errors.Is(err, full) || strings.Contains(err.Error(), "layer") {
			t.Errorf("a consumer that fails (once %t): %v", once, err)
		}
	}
	fails := Layer{Open: func(context.Context) (io.ReadCloser, error) {
		return nil, model.Errorf(model.ErrNotFound, "no such blob")
	}}
	if _, err := Flatten(t.Context(), io.Discard, []Layer{fails}, Options{Limits: DefaultLimits()}); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("a layer that cannot be opened: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%d files left, %v", len(left), err)
	}
	if _, err := Flatten(t.Context(), io.Discard, blobs(good), Options{Limits: DefaultLimits(), Scratch: dir + "/none"}); err == nil {
		t.Error("a scratch directory that is not there was not noticed")
	}
}
