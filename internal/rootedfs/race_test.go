package rootedfs_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/rootedfs"
)

// swapper exchanges two names, again and again, until the returned function is called; that returns how often.
func swapper(t testing.TB, a, b string) (stop func() int64) {
	t.Helper()
	var over atomic.Bool
	var count atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !over.Load() {
			if unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil {
				count.Add(1)
			}
		}
	}()
	return func() int64 {
		over.Store(true)
		<-done
		return count.Load()
	}
}

// racing is how long each race is run.
const racing = time.Second

// A directory of the destination becomes a link out of it, and back, while files are written through it.
func TestRacingDestination(t *testing.T) {
	t.Parallel()
	var entries []entry
	entries = append(entries, entry{name: "old", kind: tar.TypeDir})
	for i := range 2 {
		entries = append(entries,
			entry{name: fmt.Sprint("old/f", i), content: "evil"},
			entry{name: fmt.Sprint("old/canary", i%5), content: "evil"},
			entry{name: fmt.Sprint("old/d", i), kind: tar.TypeDir, mode: 0o700},
			entry{name: fmt.Sprint("old/d", i, "/f"), content: "evil"},
			entry{name: fmt.Sprint("old/h", i), kind: tar.TypeLink, link: fmt.Sprint("old/f", i)},
			entry{name: fmt.Sprint("old/l", i), kind: tar.TypeSymlink, link: "../.."},
		)
	}
	archive := archiveOf(t, entries...)
	for _, o := range []rootedfs.ExtractOptions{{}, {Name: "old"}, {Sync: func() error { return nil }}} {
		a := newArena(t)
		if err := os.Symlink("../out", filepath.Join(a.in, "evil")); err != nil {
			t.Fatal(err)
		}
		stop := swapper(t, filepath.Join(a.in, "old"), filepath.Join(a.in, "evil"))
		root := open(t, a.in)
		rounds, refusals := 0, 0
		for end := time.Now().Add(racing); time.Now().Before(end); rounds++ {
			if _, err := root.Extract(t.Context(), bytes.NewReader(archive), o); err != nil {
				refusals++
			}
		}
		swaps := stop()
		if swaps < 100 || refusals == 0 {
			t.Errorf("no race: %d swaps, %d of %d refused", swaps, refusals, rounds)
		}
		touched := 0
		for name, text := range a.look() {
			if a.canaries[name] != text {
				touched++
				t.Errorf("%s: %s", name, text)
			}
		}
		t.Logf("destination: %d swaps, %d extractions (%d refused), %d canaries, %d touched", swaps, rounds, refusals, len(a.canaries), touched)
	}
}

// Files and directories of the source become links out of it, and back, while it is read.
func TestRacingSource(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const secret = "this is none of the tree's"
	for i := range 20 {
		write(t, filepath.Join(dir, "tree/sub/deeper", fmt.Sprint("f", i)), "open", 0o644)
		write(t, filepath.Join(dir, "secret/deeper", fmt.Sprint("f", i)), secret, 0o600)
	}
	write(t, filepath.Join(dir, "tree/file"), "open", 0o644)
	write(t, filepath.Join(dir, "secretfile"), secret, 0o600)
	os.Symlink("../secret", filepath.Join(dir, "tree/z1"))
	os.Symlink("../secretfile", filepath.Join(dir, "tree/z2"))
	if err := unix.Mkfifo(filepath.Join(dir, "tree/z3"), 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tree/other"), "open", 0o644)
	stops := []func() int64{
		swapper(t, filepath.Join(dir, "tree/sub"), filepath.Join(dir, "tree/z1")),
		swapper(t, filepath.Join(dir, "tree/file"), filepath.Join(dir, "tree/z2")),
		swapper(t, filepath.Join(dir, "tree/other"), filepath.Join(dir, "tree/z3")),
	}
	root := open(t, dir)
	rounds, leaks := 0, 0
	for end := time.Now().Add(racing); time.Now().Before(end); rounds++ {
		var b bytes.Buffer
		if _, err := root.Pack(t.Context(), "tree", &b, rootedfs.PackOptions{}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), secret) {
			leaks++
		}
	}
	swaps := int64(0)
	for _, stop := range stops {
		swaps += stop()
	}
	if leaks > 0 || swaps < 100 || rounds == 0 {
		t.Errorf("%d of %d archives hold what lies outside, %d swaps", leaks, rounds, swaps)
	}
	t.Logf("source: %d swaps, %d archives, %d leaks", swaps, rounds, leaks)
}

// The primitives, while a directory on the way becomes a link out and back.
func TestRacingPrimitives(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	if err := os.Symlink("../out", filepath.Join(a.in, "evil")); err != nil {
		t.Fatal(err)
	}
	stop := swapper(t, filepath.Join(a.in, "old"), filepath.Join(a.in, "evil"))
	root := open(t, a.in)
	calls, refusals := 0, 0
	for end := time.Now().Add(racing); time.Now().Before(end); {
		f, err := root.CreateExcl("old/new", 0o644)
		if err == nil {
			f.Close()
		}
		_, openErr := root.Open("old/canary0")
		for _, err := range []error{
			err, openErr, root.Replace("old/canary1", 0o600, strings.NewReader("evil")), root.Symlink("x", "old/l"),
			root.MkdirAll("old/a/b", 0o755), root.Rename("old/canary1", "old/canary2"), root.Remove("old/canary3"), root.Remove("old/new"),
		} {
			if calls++; err != nil {
				refusals++
			}
		}
		if openErr == nil {
			t.Error("a canary was opened")
		}
	}
	if swaps := stop(); swaps < 100 || refusals == 0 {
		t.Errorf("no race: %d swaps, %d refusals", swaps, refusals)
	}
	for name, text := range a.look() {
		if a.canaries[name] != text {
			t.Errorf("%s: %s", name, text)
		}
	}
	t.Logf("primitives: %d calls, %d refused, %d canaries", calls, refusals, len(a.canaries))
}

func TestGrowingAndShrinkingFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	write(t, name, strings.Repeat("a", 1<<20), 0o644)
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !over.Load() {
			os.Truncate(name, 10)
			os.Truncate(name, 3<<20)
		}
	}()
	root := open(t, dir)
	for range 50 {
		var b bytes.Buffer
		if _, err := root.Pack(t.Context(), "f", &b, rootedfs.PackOptions{}); err != nil {
			t.Fatal(err)
		}
		tr := tar.NewReader(&b)
		if _, err := tr.Next(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, tr); err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Next(); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	over.Store(true)
	<-done
}

func FuzzExtract(f *testing.F) {
	for _, c := range hostiles(f) {
		if len(c.archive) < 64<<10 {
			f.Add(c.archive, true)
			f.Add(c.archive, false)
		}
	}
	dir := f.TempDir()
	oddTree(f, filepath.Join(dir, "x"))
	f.Add(pack(f, dir, "x", rootedfs.PackOptions{}), true)
	f.Add(pack(f, dir, "x", rootedfs.PackOptions{Portable: true}), false)
	f.Fuzz(func(t *testing.T, archive []byte, fresh bool) {
		a := newArena(t)
		o := rootedfs.ExtractOptions{MaxBytes: 1 << 20, MaxEntries: 200}
		if fresh {
			o.Name = "x"
		}
		_, _ = open(t, a.in).Extract(t.Context(), bytes.NewReader(archive), o)
		a.check("fuzz")
	})
}
