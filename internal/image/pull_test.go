package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"banger/internal/hosttool"
	"banger/internal/image/imagetest"
	"banger/internal/model"
)

func needFinishing(t *testing.T) {
	t.Helper()
	if _, err := hosttool.Find("tune2fs", "e2fsprogs"); err != nil {
		t.Skip(err)
	}
}

// filler is content that does not compress, so that a layer has many bytes.
func filler(n int, seed byte) string {
	out := make([]byte, n)
	x := uint32(seed) + 1
	for i := range out {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		out[i] = byte(x)
	}
	return string(out)
}

// twoLayers is an image whose upper layer changes the lower one.
func twoLayers(seed byte) v1.Image {
	return imagetest.Image(
		v1.Config{Entrypoint: []string{"/bin/tool"}, Cmd: []string{"serve"}, Env: []string{"A=b"}, WorkingDir: "srv", User: "7:8", StopSignal: "SIGQUIT", Labels: map[string]string{"k": "v"}},
		imagetest.Tar(imagetest.File{Name: "bin", Type: tar.TypeDir}, imagetest.File{Name: "bin/tool", Mode: 0o4755, Content: filler(300_000, seed)}, imagetest.File{Name: "gone", Content: "x"}),
		imagetest.Tar(imagetest.File{Name: ".wh.gone"}, imagetest.File{Name: "new", Content: filler(200_000, seed+1)}),
	)
}

func newRegistry(t testing.TB) *imagetest.Registry {
	t.Helper()
	r := imagetest.NewRegistry()
	t.Cleanup(r.Close)
	return r
}

// traces lists what there is beside whole images: drafts, scratch, half layers, locks of names.
func (b bench) traces(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, dir := range []string{b.dirs.Data, b.dirs.Cache} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return ignoreMissing(err)
			}
			rel, _ := filepath.Rel(dir, path)
			base := filepath.Base(path)
			switch {
			case strings.HasPrefix(base, tempPrefix), strings.HasSuffix(base, ".part"), strings.HasPrefix(base, "name-"), strings.HasPrefix(base, "spool-"), base == pendingFile:
				found = append(found, rel)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func (b bench) pull(t *testing.T, ref string) (model.Image, error) {
	t.Helper()
	return b.Pull(t.Context(), Want{Ref: ref, Policy: PullAlways}, model.Discard)
}

// inside runs a debugfs command on an image's root file.
func inside(t *testing.T, file, command string) string {
	t.Helper()
	tool, err := hosttool.Find("debugfs", "e2fsprogs")
	if err != nil {
		t.Skip(err)
	}
	out, err := exec.CommandContext(t.Context(), tool, "-R", command, file).CombinedOutput()
	if err != nil {
		t.Fatalf("debugfs %s: %v: %s", command, err, out)
	}
	return string(out)
}

// TestPullMends is of an image that was damaged, for which its user is told to pull again.
func TestPullMends(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	r := newRegistry(t)
	ref := r.Push("a:1", twoLayers(1))
	b := newBench(t, fakeRecipe{})
	first, err := b.pull(t, ref)
	if err != nil {
		t.Fatal(err)
	}
	damage(t, b.ImageFile(first.Digest))
	if err := b.Verify(t.Context(), first.Digest); !errors.Is(err, model.ErrCorrupt) || !strings.Contains(err.Error(), "banger image pull "+ref) {
		t.Fatalf("damaged: %v", err)
	}
	if again, err := b.pull(t, ref); err != nil || again.Digest != first.Digest {
		t.Errorf("%v, %v", again.Digest, err)
	}
	if err := b.VerifyContent(t.Context(), first.Digest); err != nil {
		t.Errorf("pulled again: %v", err)
	}
}

// damage changes a byte of a file's data and nothing of its size.
func damage(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte("damage"), 1100); err != nil { // in the superblock, which is no hole
		t.Fatal(err)
	}
}

func TestPull(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	r := newRegistry(t)
	ref := r.Push("team/tool:1", twoLayers(1))
	b := newBench(t, fakeRecipe{})
	r.Misbehave(imagetest.Fault{})
	first, err := b.pull(t, ref)
	if err != nil {
		t.Fatal(err)
	}
	if first.Name != ref || first.Init != model.InitAgent || first.Platform != "linux/amd64" || first.Workdir != "/srv" || first.User != "7:8" ||
		first.StopSignal != "SIGQUIT" || first.Labels["k"] != "v" || fmt.Sprint(first.Main(nil), first.Main([]string{"x"})) != "[/bin/tool serve] [/bin/tool x]" ||
		!strings.HasPrefix(first.Reference, r.Host+"/team/tool@sha256:") {
		t.Errorf("%+v", first)
	}
	if err := b.VerifyContent(t.Context(), first.Digest); err != nil {
		t.Error(err)
	}
	if got := inside(t, b.ImageFile(first.Digest), "stat /bin/tool"); !strings.Contains(got, "Mode:  04755") {
		t.Error(got)
	}
	if got := inside(t, b.ImageFile(first.Digest), "stat /gone"); !strings.Contains(got, "File not found") {
		t.Error(got)
	}
	if out, err := exec.CommandContext(t.Context(), "/usr/sbin/e2fsck", "-fn", b.ImageFile(first.Digest)).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v: %s", err, out)
	}

	// Unchanged: one question, no answer read.
	r.Misbehave(imagetest.Fault{})
	if again, err := b.pull(t, ref); err != nil || again.Digest != first.Digest {
		t.Errorf("%v, %v", again.Digest, err)
	}
	if heads, gets := r.Count("HEAD", "/manifests/"), r.Count("GET", "/manifests/")+r.Count("GET", "/blobs/"); heads != 1 || gets != 0 {
		t.Errorf("an unchanged pull made %d HEAD and %d GET requests", heads, gets)
	}

	// The same content under another name is the same image; another configuration is another one.
	other := r.Push("team/other:1", twoLayers(1))
	if same, err := b.pull(t, other); err != nil || same.Digest != first.Digest || len(same.Tags) != 2 {
		t.Errorf("%+v, %v", same.Tags, err)
	}

	// A new one takes the name; the layers that it shares are not fetched again.
	r.Push("team/tool:1", twoLayers(2))
	second, err := b.pull(t, ref)
	if err != nil || second.Digest == first.Digest || second.Name != ref {
		t.Fatalf("%+v, %v", second, err)
	}
	if old, err := b.Image(t.Context(), string(first.Digest)); err != nil || old.Name != other {
		t.Errorf("the old one is called %q, %v", old.Name, err)
	}
	// By digest.
	if by, err := b.Image(t.Context(), second.Reference); err != nil || by.Digest != second.Digest {
		t.Errorf("by reference: %v, %v", by.Digest, err)
	}
	if by, err := b.pull(t, second.Reference); err != nil || by.Digest != second.Digest {
		t.Errorf("pulled by digest: %v, %v", by.Digest, err)
	}
	if left := b.traces(t); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestSameFilesOtherCommandIsAnotherImage(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	r := newRegistry(t)
	layer := imagetest.Tar(imagetest.File{Name: "f", Content: "x"})
	b := newBench(t, fakeRecipe{})
	one, err := b.pull(t, r.Push("a:1", imagetest.Image(v1.Config{Cmd: []string{"one"}}, layer)))
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.pull(t, r.Push("a:2", imagetest.Image(v1.Config{Cmd: []string{"two"}}, layer)))
	if err != nil || one.Digest == two.Digest {
		t.Fatalf("%v, %v, %v", one.Digest, two.Digest, err)
	}
	if again, err := b.Image(t.Context(), one.Name); err != nil || again.Cmd[0] != "one" {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestPullPlatform(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	r := newRegistry(t)
	mine := imagetest.Image(v1.Config{Cmd: []string{"amd64"}}, imagetest.Tar(imagetest.File{Name: "f"}))
	small := imagetest.For(imagetest.Image(v1.Config{Cmd: []string{"386"}}, imagetest.Tar(imagetest.File{Name: "g"})), "linux", "386")
	arm := imagetest.For(mine, "linux", "arm64")
	ref := r.PushIndex("multi:1", imagetest.Index(arm, small, mine))
	b := newBench(t, fakeRecipe{})
	for platform, want := range map[string]string{"": "amd64", "linux/386": "386"} {
		i, err := b.Pull(t.Context(), Want{Ref: ref, Policy: PullAlways, Platform: platform}, model.Discard)
		if err != nil || i.Cmd[0] != want {
			t.Errorf("%q: %v, %v", platform, i.Cmd, err)
		}
	}
	for name, c := range map[string]struct {
		ref, platform, want string
		kind                error
	}{
		"not in the index":   {r.PushIndex("arm:1", imagetest.Index(arm)), "", "linux/arm64", model.ErrNotFound},
		"of its only one":    {r.Push("arm:2", arm), "", "linux/arm64", model.ErrNotFound},
		"that VMs cannot be": {ref, "linux/arm64", "linux/amd64", model.ErrUnsupported},
		"no platform":        {ref, "x", "not a platform", model.ErrInvalid},
	} {
		_, err := b.Pull(t.Context(), Want{Ref: c.ref, Policy: PullAlways, Platform: c.platform}, model.Discard)
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManyAskersOneDownload(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	r := newRegistry(t)
	ref := r.Push("a:1", twoLayers(1))
	hold := make(chan struct{})
	r.Misbehave(imagetest.Fault{Hold: hold})
	b := newBench(t, fakeRecipe{})
	other := benchOver(b.dirs, b.agent, fakeRecipe{}) // another daemon with a database of its own
	var wg sync.WaitGroup
	for n := range 12 {
		s := b
		if n%3 == 1 {
			s = other
		}
		wg.Go(func() {
			if _, err := s.Obtain(t.Context(), Want{Ref: ref}, model.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	close(hold)
	wg.Wait()
	if gets := r.Count("GET", "/blobs/"); gets != 3 { // the configuration and two layers
		t.Errorf("%d blobs were fetched, want 3", gets)
	}
	if left := b.traces(t); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// TestCancelPull gives up at each stage, while another one waits for the same.
func TestCancelPull(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	for _, stage := range []string{"ask the registry", "download the layers", "read the layers", "finish the file system", "store the image"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t)
			ref := r.Push("a:1", twoLayers(1))
			b := newBench(t, fakeRecipe{})
			ctx, cancel := context.WithCancel(t.Context())
			reached := false
			_, err := b.Pull(ctx, Want{Ref: ref, Policy: PullAlways}, func(p model.Progress) {
				if p.Stage == stage {
					reached = true
					cancel()
				}
			})
			cancel()
			if !reached || !errors.Is(err, model.ErrCanceled) {
				t.Errorf("reached %v, %v", reached, err)
			}
			if left := append(b.left(t), b.traces(t)...); len(left) != 0 {
				t.Errorf("left %v", left)
			}
			if _, err := b.pull(t, ref); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestWaiterTakesOver(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	r := newRegistry(t)
	ref := r.Push("a:1", twoLayers(1))
	hold := make(chan struct{})
	r.Misbehave(imagetest.Fault{Hold: hold})
	b := newBench(t, fakeRecipe{})
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	began := make(chan struct{})
	var once sync.Once
	go func() {
		_, err := b.Obtain(ctx, Want{Ref: ref}, func(model.Progress) { once.Do(func() { close(began) }) })
		first <- err
	}()
	<-began
	waiting, giveUp := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	go func() {
		_, err := b.Obtain(waiting, Want{Ref: ref}, model.Discard)
		gaveUp <- err
	}()
	go func() {
		_, err := b.Obtain(t.Context(), Want{Ref: ref}, model.Discard)
		second <- err
	}()
	giveUp()
	if err := <-gaveUp; !errors.Is(err, model.ErrCanceled) {
		t.Errorf("who gave up waiting: %v", err)
	}
	cancel()
	if err := <-first; !errors.Is(err, model.ErrCanceled) {
		t.Errorf("who was canceled: %v", err)
	}
	close(hold)
	if err := <-second; err != nil {
		t.Errorf("who waited: %v", err)
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	r := newRegistry(t)
	ref := r.Push("a:1", twoLayers(1))
	b := newBench(t, fakeRecipe{})
	obtain := func(p Policy) (model.Image, error) {
		return b.Obtain(t.Context(), Want{Ref: ref, Policy: p}, model.Discard)
	}
	if _, err := obtain(PullNever); !errors.Is(err, model.ErrNotFound) || !strings.Contains(err.Error(), "--pull never") {
		t.Errorf("never, missing: %v", err)
	}
	first, err := obtain(PullMissing)
	if err != nil {
		t.Fatal(err)
	}
	r.Push("a:1", twoLayers(5))
	r.Misbehave(imagetest.Fault{})
	for _, p := range []Policy{PullMissing, PullNever} {
		if i, err := obtain(p); err != nil || i.Digest != first.Digest {
			t.Errorf("%s: %v, %v", p, i.Digest, err)
		}
	}
	if n := r.Count("", "/v2/"); n != 0 {
		t.Errorf("the registry was asked %d times", n)
	}
	if i, err := obtain(PullAlways); err != nil || i.Digest == first.Digest {
		t.Errorf("always: %v, %v", i.Digest, err)
	}
	if i, err := b.Obtain(t.Context(), Want{Policy: PullAlways}, model.Discard); err != nil || i.Name != model.DefaultImage {
		t.Errorf("the default, which is built: %v, %v", i, err)
	}
}

// BenchmarkUnchangedPull is a pull of what is here already, the registry's answers on loopback included.
func BenchmarkUnchangedPull(b *testing.B) {
	r := newRegistry(b)
	ref := r.Push("a:1", twoLayers(1))
	s := newBench(b, fakeRecipe{})
	pull := func() {
		if _, err := s.Pull(b.Context(), Want{Ref: ref, Policy: PullAlways}, model.Discard); err != nil {
			b.Fatal(err)
		}
	}
	pull()
	for b.Loop() {
		pull()
	}
}
