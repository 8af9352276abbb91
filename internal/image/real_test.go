package image

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"banger/internal/model"
)

// realDir is the environment variable that names a directory for TestRealBuild to build in; the files stay there for
// other tests. It needs mmdebstrap, apt, e2fsprogs and a Debian mirror.
const realDir = "BANGER_TEST_IMAGES"

// TestRealBuild makes the default image and the default kernel as a user would.
func TestRealBuild(t *testing.T) {
	dir := os.Getenv(realDir)
	if dir == "" {
		t.Skip("the real build is not run: set " + realDir + " to a directory for it")
	}
	agent := os.Getenv("BANGER_TEST_AGENT")
	if agent == "" {
		agent = "/bin/true"
	}
	catalog := &memory{}
	dirs := Dirs{Data: filepath.Join(dir, "data"), Cache: filepath.Join(dir, "cache")}
	s := New(Options{Dirs: dirs, Catalog: catalog, Agent: agent, Tools: HostTools(), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	stages := map[string]time.Time{}
	report := func(p model.Progress) {
		if _, seen := stages[p.Stage]; !seen {
			stages[p.Stage] = time.Now()
			t.Logf("%s %s", time.Now().Format("15:04:05.0"), p.Stage)
		}
	}
	begin := time.Now()
	k, err := s.EnsureKernel(t.Context(), model.DefaultKernel, report)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("kernel after %v: %+v", time.Since(begin), k)
	begin = time.Now()
	i, err := s.Obtain(t.Context(), Want{Ref: model.DefaultImage}, report)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("image after %v: %+v", time.Since(begin), i)
	for _, d := range []model.Digest{i.Digest, k.Digest} {
		if err := s.VerifyContent(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
	initrd, err := s.Initrd(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	vmlinux, modules := s.KernelFiles(k.Digest)
	for _, path := range []string{s.ImageFile(i.Digest), vmlinux, modules, initrd} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d bytes %s", info.Size(), path)
	}
	entries, err := os.ReadDir(filepath.Join(dirs.Cache, "downloads"))
	if err != nil || len(entries) != 1 {
		t.Errorf("downloads: %v, %v; want the lock alone", entries, err)
	}
}

// TestRealCancel ends a bootstrap that is under way.
func TestRealCancel(t *testing.T) {
	if os.Getenv(realDir) == "" {
		t.Skip("the real bootstrap is not run: set " + realDir + " to a directory for it")
	}
	dir := t.TempDir()
	s := New(Options{
		Dirs: Dirs{Data: filepath.Join(dir, "data"), Cache: filepath.Join(dir, "cache")}, Catalog: &memory{}, Agent: "/bin/true", Tools: HostTools(), Log: slog.New(slog.DiscardHandler),
	})
	for _, stage := range []string{"fetch the package lists", "unpack the base system", "install the packages", "write the image", "finish the file system"} {
		ctx, cancel := context.WithCancel(t.Context())
		var since time.Time
		_, err := s.Obtain(ctx, Want{Ref: model.DefaultImage}, func(p model.Progress) {
			if p.Stage == stage && since.IsZero() {
				since = time.Now()
				cancel()
			}
		})
		cancel()
		if !errors.Is(err, model.ErrCanceled) {
			t.Errorf("%s: %v", stage, err)
		}
		t.Logf("%s: ended %v after the cancel", stage, time.Since(since))
		for _, path := range []string{"data/images", "cache/downloads"} {
			entries, err := os.ReadDir(filepath.Join(dir, path))
			if err != nil || len(entries) > 1 || (len(entries) == 1 && entries[0].Name() != buildsLock) {
				t.Errorf("%s: %s holds %v, %v", stage, path, entries, err)
			}
		}
	}
	if left, _ := filepath.Glob("/var/tmp/banger-bootstrap-*"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
