//go:build crash

package image

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/store"
)

// crashDir in the environment is where TestImageLife works, for a process whose files are looked at after its death.
const crashDir = "BANGER_TEST_IMAGE_CRASH"

// TestImageLife makes a kernel and an image and deletes the image, over the real store, as a daemon does. It is also what
// runs in the processes that are killed.
func TestImageLife(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		dir = t.TempDir()
	}
	if err := imageLife(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
}

// over opens the store and the service below dir, as a daemon does at its start.
func over(ctx context.Context, dir string) (bench, *store.Store, error) {
	rows, err := store.Open(ctx, filepath.Join(dir, "banger.db"))
	if err != nil {
		return bench{}, nil, err
	}
	b := bench{builds: &atomic.Int64{}}
	b.Service = New(Options{
		Dirs: Dirs{Data: filepath.Join(dir, "data"), Cache: filepath.Join(dir, "cache")}, Catalog: rows, Agent: os.Args[0], Log: slog.New(slog.DiscardHandler),
	})
	b.recipe = crashRecipe{fakeRecipe{builds: b.builds}}
	return b, rows, errors.Join(b.Adopt(ctx), b.Sweep(ctx))
}

// crashRecipe also passes the points inside the real recipe, with its files half made.
type crashRecipe struct{ fakeRecipe }

func (r crashRecipe) image(ctx context.Context, dir string, work scratch, report model.Report) (model.Image, error) {
	if err := os.WriteFile(filepath.Join(dir, rootFile), []byte("half"), 0o600); err != nil {
		return model.Image{}, err
	}
	crash.At("image.build.before-finish")
	return r.fakeRecipe.image(ctx, dir, work, report)
}

func (r crashRecipe) kernel(ctx context.Context, dir string, work scratch, report model.Report) (model.Kernel, error) {
	if err := os.WriteFile(filepath.Join(work.dir, "package.deb"), []byte("half"), 0o600); err != nil {
		return model.Kernel{}, err
	}
	crash.At("image.kernel.before-modules")
	return r.fakeRecipe.kernel(ctx, dir, work, report)
}

// imageLife says on standard output what is promised after each step.
func imageLife(ctx context.Context, dir string) error {
	b, rows, err := over(ctx, dir)
	if err != nil {
		return err
	}
	defer rows.Close()
	if _, err := b.EnsureKernel(ctx, model.DefaultKernel, model.Discard); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "kernel")
	if _, err := b.Obtain(ctx, Want{Ref: model.DefaultImage}, model.Discard); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "image")
	fmt.Fprintln(os.Stdout, "deleting")
	if _, err := b.DeleteImage(ctx, model.DefaultImage); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "deleted")
	return nil
}

func TestAProcessKilledAtAnyPointOfAnImagesLifeLeaksNothing(t *testing.T) {
	t.Parallel()
	walked := 0
	for _, point := range crash.Points() {
		if !strings.HasPrefix(point, "image.") || ofAJob(point) {
			continue
		}
		walked++
		// A point that the kernel's build passes first is walked again in the image's.
		for nth := 1; nth <= passes(point); nth++ {
			t.Run(fmt.Sprintf("%s#%d", point, nth), func(t *testing.T) {
				t.Parallel()
				walk(t, point, nth)
			})
		}
	}
	if walked == 0 {
		t.Fatal("there is no point to walk")
	}
}

func passes(point string) int {
	if strings.HasPrefix(point, "image.draft.") || strings.HasPrefix(point, "image.publish.") {
		return 2
	}
	return 1
}

func walk(t *testing.T, point string, nth int) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestImageLife$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("%s=%s#%d", crash.Env, point, nth))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the process did not die there: %v, %s", err, complaint.String())
	}
	var promised []string
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		promised = append(promised, lines.Text())
	}
	afterwards(t, dir, promised)
}

// afterwards is the next process: it finds all that was promised whole, and nothing else, and can make what is missing.
func afterwards(t *testing.T, dir string, promised []string) {
	b, rows, err := over(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	images, err := b.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kernels, err := b.Kernels(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(promised, "kernel") && len(kernels) != 1 {
		t.Errorf("the kernel that was made is gone: %v", kernels)
	}
	if slices.Contains(promised, "image") && !slices.Contains(promised, "deleting") && len(images) != 1 {
		t.Errorf("the image that was made is gone: %v", images)
	}
	if slices.Contains(promised, "deleted") && len(images) != 0 {
		t.Errorf("the image that was deleted is there: %v", images)
	}
	for _, i := range images {
		if err := b.VerifyContent(t.Context(), i.Digest); err != nil {
			t.Error(err)
		}
	}
	for _, k := range kernels {
		if err := b.VerifyContent(t.Context(), k.Digest); err != nil {
			t.Error(err)
		}
	}
	if left := b.left(t); len(left) != len(images)+len(kernels) {
		t.Errorf("files %v for %d images and %d kernels", left, len(images), len(kernels))
	}
	_, kerr := b.EnsureKernel(t.Context(), model.DefaultKernel, model.Discard)
	_, ierr := b.Obtain(t.Context(), Want{Ref: model.DefaultImage}, model.Discard)
	if err := errors.Join(kerr, ierr); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
