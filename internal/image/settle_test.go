package image

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// TestARowThatCannotBeWrittenHarmsNothing builds and deletes while the database fails, before or after it has done what
// was asked: what becomes of the files is decided by the row that is there.
func TestARowThatCannotBeWrittenHarmsNothing(t *testing.T) {
	t.Parallel()
	full := errors.New("the database is full")
	build := func(b bench) error {
		_, err := b.BuildImage(t.Context(), model.DefaultImage, true, model.Discard)
		return err
	}
	remove := func(b bench) error {
		_, err := b.DeleteImage(t.Context(), model.DefaultImage)
		return err
	}
	for name, c := range map[string]struct {
		before bool // the image is there before
		do     func(b bench) error
		late   bool
		after  int // images afterwards
	}{
		"a first build":                   {do: build},
		"a first build that was recorded": {do: build, late: true, after: 1},
		"the same build again":            {before: true, do: build, after: 1},
		"a delete":                        {before: true, do: remove, after: 1},
		"a delete that was recorded":      {before: true, do: remove, late: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, fakeRecipe{})
			if c.before {
				if err := build(b); err != nil {
					t.Fatal(err)
				}
			}
			b.catalog.fail, b.catalog.late = full, c.late
			if err := c.do(b); !errors.Is(err, full) {
				t.Errorf("got %v", err)
			}
			all, err := b.Images(t.Context())
			if err != nil || len(all) != c.after || len(b.left(t)) != c.after {
				t.Fatalf("%d images, %v, and the files %v; want %d", len(all), err, b.left(t), c.after)
			}
			for _, i := range all {
				if err := b.VerifyContent(t.Context(), i.Digest); err != nil {
					t.Error(err)
				}
			}
			if left := b.traces(t); len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

// TestABootstrapThatCannotBeRemovedIsNotForgotten keeps the scratch directory that names it until it can.
func TestABootstrapThatCannotBeRemovedIsNotForgotten(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	b := newBench(t, fakeRecipe{})
	b.tools.Find = func(name, _ string) (string, error) { return "", errors.New("there is no " + name) }
	work, err := b.newScratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(work.dir, bootstrapLink)
	dir, err := makeBootstrapDir(link)
	if err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(dir, "inside")
	if err := errors.Join(os.Mkdir(inside, 0o700), os.WriteFile(filepath.Join(inside, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	release := hold(t, inside)
	if err := work.close(); err == nil {
		t.Error("it was removed")
	}
	if _, err := os.Readlink(link); err != nil {
		t.Errorf("it is forgotten: %v", err)
	}
	release()
	if err := b.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	for _, path := range []string{dir, work.dir} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

// hold keeps a directory from being removed until release is called.
func hold(t *testing.T, dir string) (release func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		return func() { _ = os.Chmod(dir, 0o700) }
	}
	if err := unix.Mount("banger-test", dir, "tmpfs", 0, ""); err != nil {
		t.Skipf("not run: needs to mount a tmpfs: %v", err)
	}
	release = func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }
	t.Cleanup(release)
	return release
}
