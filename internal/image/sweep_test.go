package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"banger/internal/model"
)

func TestDelete(t *testing.T) {
	t.Parallel()
	b := newBench(t, fakeRecipe{})
	i, err := b.Obtain(t.Context(), Want{Ref: model.DefaultImage}, model.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b.catalog.used[i.Digest] = true
	if _, err := b.DeleteImage(t.Context(), "debian"); !errors.Is(err, model.ErrState) {
		t.Errorf("in use: %v", err)
	}
	if err := errors.Join(b.Sweep(t.Context()), b.VerifyContent(t.Context(), i.Digest)); err != nil {
		t.Errorf("a refused delete did harm: %v", err)
	}
	b.catalog.used[i.Digest] = false
	if gone, err := b.DeleteImage(t.Context(), i.Digest.Hex()[:6]); err != nil || gone.Name != "debian" {
		t.Errorf("%v, %v", gone, err)
	}
	if _, err := b.DeleteImage(t.Context(), "debian"); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("twice: %v", err)
	}
	if _, err := os.Lstat(b.comparedFile(kindImage, i.Digest)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was known of it is left: %v", err)
	}
	if left := b.left(t); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// TestSweepAfterCrash puts the directories into the states in which a crash between two steps leaves them.
func TestSweepAfterCrash(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		crash func(b bench, i model.Image) error
		want  int // images left
	}{
		"in a build": {func(b bench, _ model.Image) error {
			dir := filepath.Join(b.dirs.Data, kindImage, tempPrefix+"1")
			return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, rootFile), nil, 0o400))
		}, 1},
		"in a download": {func(b bench, _ model.Image) error {
			return os.Mkdir(filepath.Join(b.downloadsDir(), tempPrefix+"1"), 0o700)
		}, 1},
		"before the row": {func(b bench, i model.Image) error {
			return errors.Join(b.mark(b.blobDir(kindImage, i.Digest)), b.catalog.DeleteImage(context.Background(), i.Digest))
		}, 0},
		"after the row":   {func(b bench, i model.Image) error { return b.mark(b.blobDir(kindImage, i.Digest)) }, 1},
		"no row, no mark": {func(b bench, i model.Image) error { return b.catalog.DeleteImage(context.Background(), i.Digest) }, 1},
		"a note about what is gone": {func(b bench, _ model.Image) error {
			return os.WriteFile(b.comparedFile(kindImage, model.Digest("sha256:"+strings.Repeat("0", 64))), nil, 0o600)
		}, 1},
		"in an initramfs": {func(b bench, _ model.Image) error {
			return errors.Join(os.MkdirAll(b.initrdDir(), 0o700), os.WriteFile(filepath.Join(b.initrdDir(), "x"+initrdSuffix+partSuffix), nil, 0o600))
		}, 1},
		"another installation, before its row or after": {func(b bench, i model.Image) error {
			other := benchOver(b.dirs, b.agent, fakeRecipe{})
			other.owner = "another"
			return errors.Join(other.mark(b.blobDir(kindImage, i.Digest)), b.catalog.DeleteImage(context.Background(), i.Digest))
		}, 1},
		"foreign files": {func(b bench, _ model.Image) error {
			return os.WriteFile(filepath.Join(b.dirs.Data, "images", "notes.txt"), nil, 0o600)
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, fakeRecipe{})
			i, err := b.Obtain(t.Context(), Want{Ref: model.DefaultImage}, model.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.crash(b, i); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := b.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if left := b.left(t); len(left) != c.want {
				t.Errorf("left %v, want %d", left, c.want)
			}
			if owner, pending := marked(b.blobDir(kindImage, i.Digest)); pending && owner == b.owner {
				t.Error("the mark is still there")
			}
			if notes, err := os.ReadDir(b.comparedDir()); err != nil || len(notes) > 1 {
				t.Errorf("notes about %v, %v", notes, err)
			}
			if parts, err := filepath.Glob(filepath.Join(b.initrdDir(), "*"+partSuffix)); err != nil || len(parts) > 0 {
				t.Errorf("left %v, %v", parts, err)
			}
			if _, err := b.Obtain(t.Context(), Want{Ref: model.DefaultImage}, model.Discard); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestSweepSparesARunningBuild(t *testing.T) {
	t.Parallel()
	var b bench
	b = newBench(t, fakeRecipe{during: func(ctx context.Context, dir string, work scratch) error {
		other := benchOver(b.dirs, b.agent, fakeRecipe{})
		if err := errors.Join(b.Sweep(ctx), other.Sweep(ctx)); err != nil {
			return err
		}
		_, derr := os.Stat(filepath.Join(dir, rootFile))
		_, werr := os.Stat(work.dir)
		return errors.Join(derr, werr)
	}})
	if _, err := b.Obtain(t.Context(), Want{Ref: model.DefaultImage}, model.Discard); err != nil {
		t.Error(err)
	}
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	b := newBench(t, fakeRecipe{})
	i, err := b.Obtain(t.Context(), Want{Ref: model.DefaultImage}, model.Discard)
	if err != nil {
		t.Fatal(err)
	}
	k, err := b.EnsureKernel(t.Context(), model.DefaultKernel, model.Discard)
	if err != nil {
		t.Fatal(err)
	}
	other := benchOver(b.dirs, b.agent, fakeRecipe{})
	for range 2 {
		if err := errors.Join(other.Sweep(t.Context()), other.Adopt(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	images, _ := other.Images(t.Context())
	kernels, _ := other.Kernels(t.Context())
	if len(images) != 1 || len(kernels) != 1 || images[0].Digest != i.Digest || !images[0].CreatedAt.Equal(i.CreatedAt) || kernels[0].Digest != k.Digest {
		t.Errorf("adopted %v and %v", images, kernels)
	}
	if err := os.Remove(b.ImageFile(i.Digest)); err != nil {
		t.Fatal(err)
	}
	third := benchOver(b.dirs, b.agent, fakeRecipe{})
	if err := third.Adopt(t.Context()); err != nil {
		t.Error(err)
	}
	if images, _ := third.Images(t.Context()); len(images) != 0 {
		t.Errorf("a broken image was adopted: %v", images)
	}
}

func TestInitrd(t *testing.T) {
	t.Parallel()
	b := newBench(t, fakeRecipe{})
	k, err := b.EnsureKernel(t.Context(), model.DefaultKernel, model.Discard)
	if err != nil {
		t.Fatal(err)
	}
	initrd := func() (string, string) {
		t.Helper()
		path, err := b.Initrd(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return path, string(data)
	}
	first, content := initrd()
	if !strings.HasPrefix(content, "content070701") || !strings.Contains(content, "init\x00\x00agent") {
		t.Errorf("%q", content)
	}
	if err := os.Truncate(first, 5); err != nil {
		t.Fatal(err)
	}
	if again, mended := initrd(); again != first || mended != content {
		t.Errorf("a short one was not made again: %s, %q", again, mended)
	}
	if err := os.WriteFile(b.agent, []byte("newer agent"), 0o700); err != nil {
		t.Fatal(err)
	}
	if second, content := initrd(); second == first || !strings.Contains(content, "newer agent") {
		t.Errorf("the agent changed, the initramfs did not: %s", second)
	}
	entries, err := os.ReadDir(b.initrdDir())
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
	if names := b.left(t); !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "kernels/") }) {
		t.Errorf("left %v", names)
	}
}
