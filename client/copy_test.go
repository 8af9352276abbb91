package client_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banger/client"
	"banger/internal/model"
	"banger/internal/server/servertest"
)

// copying is a daemon with a VM whose root is a directory, and a directory of the host.
type copying struct {
	t           *testing.T
	daemon      *servertest.Daemon
	client      *client.Client
	vm          client.VM
	guest, host string
}

func newCopying(t *testing.T) *copying {
	t.Helper()
	d := servertest.Start(t)
	d.VMs.Root = t.TempDir()
	v := d.VMs.Add("box", model.StateRunning)
	c, err := client.Dial(t.Context(), client.Options{Dirs: d.Dirs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &copying{t: t, daemon: d, client: c, vm: client.VM{ID: string(v.ID), Name: "box"}, guest: d.VMs.Root, host: t.TempDir()}
}

func (c *copying) put(name, content string) {
	c.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// list is what is in a directory, a line a file.
func (c *copying) list(dir string) string {
	c.t.Helper()
	var lines []string
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			c.t.Fatal(err)
		}
		rel, _ := filepath.Rel(dir, name)
		if d.Type().IsRegular() {
			raw, _ := os.ReadFile(name)
			rel += "=" + string(raw)
		}
		if rel != "." {
			lines = append(lines, rel)
		}
		return nil
	})
	return strings.Join(lines, " ")
}

// docker cp's rules are the same both ways.
func TestCopyRules(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		name, from, to string
		want           string // what is at the target's side; "" for an error
		kind           error
	}{
		{"file to a name", "f", "new", "d d/old=old f2=f2 new=f", nil},
		{"file over a file", "f", "f2", "d d/old=old f2=f", nil},
		{"file into a directory", "f", "d", "d d/f=f d/old=old f2=f2", nil},
		{"file into a directory, with a slash", "f", "d/", "d d/f=f d/old=old f2=f2", nil},
		{"file into no directory", "f", "no/", "", model.ErrNotFound},
		{"file below nothing", "f", "no/no", "", model.ErrNotFound},
		{"file to a file as a directory", "f", "f2/", "", model.ErrInvalid},
		{"a file as a directory", "f/", "new", "", model.ErrInvalid},
		{"nothing", "nothing", "new", "", model.ErrNotFound},
		{"directory to a name", "s", "new", "d d/old=old f2=f2 new new/a=a new/e", nil},
		{"directory's content to a name", "s/.", "new", "d d/old=old f2=f2 new new/a=a new/e", nil},
		{"directory into a directory", "s", "d", "d d/old=old d/s d/s/a=a d/s/e f2=f2", nil},
		{"directory's content into a directory", "s/.", "d", "d d/a=a d/e d/old=old f2=f2", nil},
		{"directory over a file", "s", "f2", "", model.ErrInvalid},
	} {
		for _, way := range []string{"out", "in"} {
			t.Run(r.name+", "+way, func(t *testing.T) {
				t.Parallel()
				c := newCopying(t)
				from, to := c.guest, c.host
				if way == "in" {
					from, to = to, from
				}
				c.put(filepath.Join(from, "f"), "f")
				c.put(filepath.Join(from, "s/a"), "a")
				os.Mkdir(filepath.Join(from, "s/e"), 0o755)
				c.put(filepath.Join(to, "d/old"), "old")
				c.put(filepath.Join(to, "f2"), "f2")
				before := c.list(to)
				var err error
				if way == "out" {
					_, err = c.client.CopyOut(t.Context(), c.vm, "/"+r.from, c.host+"/"+r.to, client.CopyOptions{})
				} else {
					_, err = c.client.CopyIn(t.Context(), c.vm, c.host+"/"+r.from, "/"+r.to, client.CopyOptions{})
				}
				want := r.want
				if want == "" {
					want = before
				}
				if !errors.Is(err, r.kind) || c.list(to) != want {
					t.Errorf("%v; got %s, want %s", err, c.list(to), want)
				}
			})
		}
	}
}

// An agent that sends something else than what was asked for.
func TestLyingAgent(t *testing.T) {
	t.Parallel()
	file := func(names ...string) func(context.Context, io.Writer) error {
		return func(_ context.Context, w io.Writer) error {
			tw := tar.NewWriter(w)
			for _, name := range names {
				if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: 4, Typeflag: tar.TypeReg}); err != nil {
					return err
				}
				io.WriteString(tw, "evil")
			}
			return tw.Close()
		}
	}
	for name, archive := range map[string]func(context.Context, io.Writer) error{
		"another name":           file(".bashrc"),
		"more than was asked":    file("f", "g"),
		"out of the directory":   file("f", "../up"),
		"nothing":                file(),
		"a break":                func(_ context.Context, w io.Writer) error { w.Write(make([]byte, 100)); return errors.New("gone") },
		"a break within a file":  func(ctx context.Context, w io.Writer) error { return broken(w) },
		"no end":                 func(ctx context.Context, w io.Writer) error { return endless(w) },
		"a link, then behind it": linked,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCopying(t)
			c.put(c.guest+"/f", "f")
			c.put(c.host+"/in/old", "old")
			c.put(c.host+"/canary", "alive")
			c.daemon.VMs.Archive = archive
			for _, to := range []string{"/in", "/in/new"} {
				if _, err := c.client.CopyOut(t.Context(), c.vm, "/f", c.host+to, client.CopyOptions{MaxBytes: 1 << 20}); err == nil {
					t.Errorf("to %s: taken", to)
				}
			}
			if got := c.list(c.host); got != "canary=alive in in/old=old" {
				t.Errorf("got %s", got)
			}
			if _, err := os.Lstat(c.host + "/in/g"); err == nil {
				t.Error("what was not asked for was written")
			}
		})
	}
}

func broken(w io.Writer) error {
	tw := tar.NewWriter(w)
	if err := tw.WriteHeader(&tar.Header{Name: "f", Mode: 0o644, Size: 1000, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	io.WriteString(tw, "half")
	return errors.New("gone")
}

func endless(w io.Writer) error {
	tw := tar.NewWriter(w)
	if err := tw.WriteHeader(&tar.Header{Name: "f", Mode: 0o644, Size: 1 << 50, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	for {
		if _, err := tw.Write(make([]byte, 64<<10)); err != nil {
			return err
		}
	}
}

func linked(_ context.Context, w io.Writer) error {
	tw := tar.NewWriter(w)
	for _, h := range []tar.Header{{Name: "f", Linkname: "..", Typeflag: tar.TypeSymlink}, {Name: "f/canary", Typeflag: tar.TypeReg}} {
		if err := tw.WriteHeader(&h); err != nil {
			return err
		}
	}
	return tw.Close()
}

func TestCopyBetweenVMs(t *testing.T) {
	t.Parallel()
	c := newCopying(t)
	c.put(c.guest+"/s/a", "a")
	if _, err := c.client.CopyBetween(t.Context(), c.vm, "/s", c.vm, "/t", client.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := c.list(c.guest); got != "s s/a=a t t/a=a" {
		t.Error(got)
	}
}

func TestArchivesOnStreams(t *testing.T) {
	t.Parallel()
	c := newCopying(t)
	c.put(c.guest+"/s/a", "a")
	var b bytes.Buffer
	if err := c.client.ReadTar(t.Context(), c.vm, "/s", &b, client.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	os.Mkdir(c.guest+"/t", 0o755)
	if _, err := c.client.WriteTar(t.Context(), c.vm, &b, "/t", client.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := c.list(c.guest); got != "s s/a=a t t/s t/s/a=a" {
		t.Error(got)
	}
	if err := c.client.ReadTar(t.Context(), c.vm, "/s", &b, client.CopyOptions{MaxBytes: 10}); !errors.Is(err, client.ErrTooLarge) {
		t.Error(err)
	}
}

// Whoever waits for somebody to type an archive can be told to leave.
func TestWaitingForAnArchiveCanBeLeft(t *testing.T) {
	t.Parallel()
	c := newCopying(t)
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.client.WriteTar(ctx, c.vm, r, "/", client.CopyOptions{}); !errors.Is(err, client.ErrCanceled) {
		t.Error(err)
	}
}
