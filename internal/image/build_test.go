package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEnsureBuildsOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, fakeRecipe{})
	other := benchOver(b.dirs, b.agent, fakeRecipe{}) // another daemon with a database of its own
	var wg sync.WaitGroup
	for n := range 16 {
		s := b
		if n%2 == 1 {
			s = other
		}
		wg.Go(func() {
			if _, err := s.Obtain(t.Context(), Want{Ref: model.DefaultImage}, model.Discard); err != nil {
				t.Error(err)
			}
			if _, err := s.EnsureKernel(t.Context(), model.DefaultKernel, model.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := b.builds.Load() + other.builds.Load(); got != 2 {
		t.Errorf("%d builds, want one of the image and one of the kernel", got)
	}
	if left := b.left(t); len(left) != 2 {
		t.Errorf("left %v", left)
	}
	for _, s := range []bench{b, other} {
		i, err := s.Image(t.Context(), model.DefaultImage)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.VerifyContent(t.Context(), i.Digest); err != nil {
			t.Error(err)
		}
		if by, err := s.Image(t.Context(), i.Digest.Hex()[:4]); err != nil || by.Digest != i.Digest {
			t.Errorf("by prefix: %v, %v", by, err)
		}
	}
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	b := newBench(t, fakeRecipe{})
	if _, err := b.Obtain(t.Context(), Want{Ref: "fedora", Policy: PullNever}, model.Discard); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("image: %v", err)
	}
	if _, err := b.EnsureKernel(t.Context(), "fedora", model.Discard); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("kernel: %v", err)
	}
	if _, err := b.BuildImage(t.Context(), "../x", false, model.Discard); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("bad name: %v", err)
	}
	if b.builds.Load() != 0 {
		t.Error("something was built")
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		kind error
	}{
		"plain":     {errors.New("mmdebstrap failed"), model.ErrUnavailable},
		"full disk": {&os.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}, model.ErrNoSpace},
		"kind":      {model.Errorf(model.ErrUnsupported, "no ids"), model.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fail := true
			b := newBench(t, fakeRecipe{during: func(context.Context, string, scratch) error {
				if fail {
					return c.err
				}
				return nil
			}})
			if _, err := b.Obtain(t.Context(), Want{Ref: model.DefaultImage}, model.Discard); !errors.Is(err, c.kind) {
				t.Errorf("got %v, want kind %v", err, c.kind)
			}
			if left := b.left(t); len(left) != 0 {
				t.Errorf("left %v", left)
			}
			fail = false
			if _, err := b.Obtain(t.Context(), Want{Ref: model.DefaultImage}, model.Discard); err != nil {
				t.Errorf("the next build: %v", err)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	b := newBench(t, fakeRecipe{during: func(ctx context.Context, _ string, _ scratch) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	built, waited := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := b.Obtain(ctx, Want{Ref: model.DefaultImage}, model.Discard)
		built <- err
	}()
	<-entered
	waiting, giveUp := context.WithCancel(t.Context())
	go func() {
		_, err := b.Obtain(waiting, Want{Ref: model.DefaultImage}, model.Discard)
		waited <- err
	}()
	giveUp()
	if err := <-waited; !errors.Is(err, model.ErrCanceled) {
		t.Errorf("who waited got %v", err)
	}
	cancel()
	if err := <-built; !errors.Is(err, model.ErrCanceled) {
		t.Errorf("who built got %v", err)
	}
	if left := b.left(t); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestForceTakesTheName(t *testing.T) {
	t.Parallel()
	b := newBench(t, fakeRecipe{content: func(n int64) string { return fmt.Sprint(n) }})
	first, err := b.BuildImage(t.Context(), "debian", false, model.Discard)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.BuildImage(t.Context(), "debian", false, model.Discard)
	if err != nil || again.Digest != first.Digest {
		t.Errorf("without force: %v, %v", again.Digest, err)
	}
	second, err := b.BuildImage(t.Context(), "debian", true, model.Discard)
	if err != nil || second.Digest == first.Digest {
		t.Fatalf("with force: %v, %v", second.Digest, err)
	}
	if named, err := b.Image(t.Context(), "debian"); err != nil || named.Digest != second.Digest {
		t.Errorf("the name means %v, %v", named.Digest, err)
	}
	if err := b.Verify(t.Context(), first.Digest); err != nil {
		t.Errorf("the old one: %v", err)
	}
}

func TestForceMendsTheSame(t *testing.T) {
	t.Parallel()
	b := newBench(t, fakeRecipe{})
	i, err := b.BuildImage(t.Context(), "debian", false, model.Discard)
	if err != nil {
		t.Fatal(err)
	}
	file := b.ImageFile(i.Digest)
	if err := errors.Join(os.Chmod(file, 0o600), os.Truncate(file, 3)); err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(t.Context(), i.Digest); !errors.Is(err, model.ErrCorrupt) {
		t.Errorf("a short file: %v", err)
	}
	if _, err := b.BuildImage(t.Context(), "debian", true, model.Discard); err != nil {
		t.Fatal(err)
	}
	if err := b.VerifyContent(t.Context(), i.Digest); err != nil {
		t.Errorf("after the build: %v", err)
	}
	if left := b.left(t); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(file string) error{
		"missing":     os.Remove,
		"a directory": func(f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o700)) },
		"changed": func(f string) error {
			return errors.Join(os.Chmod(f, 0o600), os.WriteFile(f, []byte("CONTENT"), 0o600))
		},
		"no manifest": func(f string) error { return os.Remove(filepath.Join(filepath.Dir(f), manifestFile)) },
		"torn manifest": func(f string) error {
			m := filepath.Join(filepath.Dir(f), manifestFile)
			return errors.Join(os.Chmod(m, 0o600), os.Truncate(m, 20))
		},
		"all gone": func(f string) error { return os.RemoveAll(filepath.Dir(f)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, fakeRecipe{})
			i, err := b.Obtain(t.Context(), Want{Ref: model.DefaultImage}, model.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if err := harm(b.ImageFile(i.Digest)); err != nil {
				t.Fatal(err)
			}
			if err := b.Verify(t.Context(), i.Digest); !errors.Is(err, model.ErrCorrupt) {
				t.Errorf("Verify: %v", err)
			}
			if err := b.VerifyContent(t.Context(), i.Digest); !errors.Is(err, model.ErrCorrupt) {
				t.Errorf("VerifyContent: %v", err)
			}
			if _, err := b.DeleteImage(t.Context(), "debian"); err != nil {
				t.Errorf("delete: %v", err)
			}
			if left := b.left(t); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

// TestVerifyRemembers reads a file that was touched, and not again until it is touched once more.
func TestVerifyRemembers(t *testing.T) {
	t.Parallel()
	b := newBench(t, fakeRecipe{})
	i, err := b.Obtain(t.Context(), Want{Ref: model.DefaultImage}, model.Discard)
	if err != nil {
		t.Fatal(err)
	}
	untouched := func() bool {
		now, err := b.lookAt(kindImage, i.Digest)
		if err != nil {
			t.Fatal(err)
		}
		return b.untouched(kindImage, i.Digest, now)
	}
	if !untouched() {
		t.Error("a new image counts as touched")
	}
	if err := os.Chmod(b.ImageFile(i.Digest), 0o440); err != nil {
		t.Fatal(err)
	}
	if untouched() {
		t.Error("a touched image counts as untouched")
	}
	if err := b.Verify(t.Context(), i.Digest); err != nil {
		t.Error(err)
	}
	if !untouched() {
		t.Error("it would be read at each start")
	}
}

func TestBrokenKernelIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, fakeRecipe{})
	k, err := b.EnsureKernel(t.Context(), model.DefaultKernel, model.Discard)
	if err != nil {
		t.Fatal(err)
	}
	vmlinux, _ := b.KernelFiles(k.Digest)
	if err := os.Remove(vmlinux); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Initrd(t.Context(), k); !errors.Is(err, model.ErrCorrupt) {
		t.Errorf("initramfs of a broken kernel: %v", err)
	}
	if _, err := b.EnsureKernel(t.Context(), model.DefaultKernel, model.Discard); err != nil {
		t.Fatal(err)
	}
	if err := b.VerifyContent(t.Context(), k.Digest); err != nil {
		t.Error(err)
	}
}
