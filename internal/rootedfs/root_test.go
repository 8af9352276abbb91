package rootedfs_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/rootedfs"
)

func TestPrimitives(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	r := open(t, a.in)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.MkdirAll("new/deep/er", 0o750))
	must(r.MkdirAll("new/deep/er", 0o750))
	f, err := r.CreateExcl("new/f", 0o604)
	must(err)
	_, err = f.WriteString("one")
	must(errors.Join(err, f.Close()))
	if _, err := r.CreateExcl("new/f", 0o600); !errors.Is(err, model.ErrExists) {
		t.Errorf("again: %v", err)
	}
	must(r.Replace("new/f", 0o640, strings.NewReader("two")))
	must(r.Replace("trapfile", 0o600, strings.NewReader("three"))) // the link, not what it points to
	must(r.Symlink("../../canary0", "new/l"))
	if target, err := r.Readlink("new/l"); target != "../../canary0" || err != nil {
		t.Errorf("link: %q, %v", target, err)
	}
	f, err = r.Open("new/f")
	must(err)
	if text, _ := io.ReadAll(f); string(text) != "two" {
		t.Errorf("content %q", text)
	}
	f.Close()
	info, err := r.Lstat("new/f")
	if err != nil || info.Mode != 0o640 || info.Size != 3 {
		t.Errorf("%+v, %v", info, err)
	}
	entries, err := r.ReadDir("new")
	if err != nil || len(entries) != 3 {
		t.Errorf("%v, %v", entries, err)
	}
	must(r.Rename("new/f", "new/g"))
	must(r.Remove("new/g"))
	must(r.Remove("new/g"))
	must(r.Remove("new/deep/er"))
	must(r.RemoveAll("new"))
	a.check("primitives")
}

func TestPrimitivesRefuse(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	r := open(t, a.in)
	if err := unix.Mkfifo(filepath.Join(a.in, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"../canary0", "/etc/passwd", "", ".", "trap/canary0", "trap/../../canary0", "old/trap/new", "a\x00b", strings.Repeat("n", 300),
		strings.Repeat("a/", 3000), "old/file/below",
	} {
		f, err := r.CreateExcl(name, 0o600)
		if err == nil {
			f.Close()
		}
		_, openErr := r.Open(name)
		for what, err := range map[string]error{
			"create": err, "open": openErr, "replace": r.Replace(name, 0o600, strings.NewReader("evil")), "link": r.Symlink("x", name),
		} {
			if !errors.Is(err, model.ErrInvalid) {
				t.Errorf("%s %.40q: %v", what, name, err)
			}
		}
	}
	for _, name := range []string{"fifo", "trapfile", "old"} {
		if f, err := r.Open(name); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("open %s: %v", name, err)
			f.Close()
		}
	}
	if err := r.Replace("old", 0o600, strings.NewReader("evil")); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("a directory was replaced: %v", err)
	}
	os.Remove(filepath.Join(a.in, "fifo"))
	a.check("refusals")
}

// A path of a guest is resolved as in the guest.
func TestResolve(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	write(t, filepath.Join(a.in, "usr/lib/f"), "x", 0o644)
	os.Symlink("/usr/lib", filepath.Join(a.in, "lib"))
	os.Symlink("../../../../../../usr", filepath.Join(a.in, "up"))
	for _, c := range []struct {
		path   string
		follow bool
		real   string
	}{
		{"/lib/f", false, "/usr/lib/f"}, {"/lib", false, "/lib"}, {"/lib", true, "/usr/lib"}, {"/up/lib/f", true, "/usr/lib/f"},
		{"/..", true, "/"}, {"/lib/../../..", true, "/"}, {"/trap", true, ""}, {"/nothing", false, ""},
	} {
		real, _, err := rootedfs.Resolve(a.in, c.path, c.follow)
		if real != c.real || (c.real == "") != errors.Is(err, model.ErrNotFound) {
			t.Errorf("%s, %v: %q, %v; want %q", c.path, c.follow, real, err, c.real)
		}
	}
	r, err := rootedfs.OpenIn(a.in, "/lib")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Lstat("f"); err != nil {
		t.Error(err)
	}
	if target, err := rootedfs.Target(a.in, "/lib"); target != "/usr/lib" || err != nil {
		t.Errorf("%q, %v", target, err)
	}
}
