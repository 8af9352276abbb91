package image

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"banger/internal/image/layers"
	"banger/internal/model"
)

// fakeRecipe makes small files at once. Its hooks, which may be nil, run while a build is under way.
type fakeRecipe struct {
	builds  *atomic.Int64
	content func(build int64) string
	during  func(ctx context.Context, dir string, work scratch) error
}

func (r fakeRecipe) make(ctx context.Context, dir string, work scratch, files ...string) error {
	n := r.builds.Add(1)
	text := "content"
	if r.content != nil {
		text = r.content(n)
	}
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if r.during != nil {
		return r.during(ctx, dir, work)
	}
	return nil
}

func (r fakeRecipe) image(ctx context.Context, dir string, work scratch, report model.Report) (fresh, error) {
	report(model.Progress{Stage: "fake"})
	return fresh{Image: model.Image{Arch: "amd64", Init: model.InitAgent}}, r.make(ctx, dir, work, rootFile)
}

func (r fakeRecipe) kernel(ctx context.Context, dir string, work scratch, report model.Report) (model.Kernel, error) {
	report(model.Progress{Stage: "fake"})
	return model.Kernel{Arch: "amd64", Release: "6.1"}, r.make(ctx, dir, work, vmlinuxFile, modulesFile, earlyFile)
}

// bench is a service over temporary directories.
type bench struct {
	*Service
	catalog *memory
	builds  *atomic.Int64
}

func newBench(t testing.TB, r fakeRecipe) bench {
	t.Helper()
	dir := t.TempDir()
	agent := filepath.Join(dir, "agent")
	if err := os.WriteFile(agent, []byte("agent"), 0o700); err != nil {
		t.Fatal(err)
	}
	return benchOver(Dirs{Data: filepath.Join(dir, "data"), Cache: filepath.Join(dir, "cache")}, agent, r)
}

func benchOver(dirs Dirs, agent string, r fakeRecipe) bench {
	b := bench{catalog: &memory{used: map[model.Digest]bool{}}, builds: &atomic.Int64{}}
	r.builds = b.builds
	b.Service = New(Options{Dirs: dirs, Catalog: b.catalog, Agent: agent, Limits: layers.DefaultLimits(), Log: slog.New(slog.DiscardHandler)})
	b.keychain, b.certDirs, b.wait, b.rootBytes = nil, nil, time.Millisecond, 128*model.MiB
	b.recipe = r
	return b
}

// left lists what lies in the directories besides the locks, as kind/name; digests are cut.
func (b bench) left(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, dir := range []string{filepath.Join(b.dirs.Data, kindImage), filepath.Join(b.dirs.Data, kindKernel), b.downloadsDir()} {
		entries, err := os.ReadDir(dir)
		if ignoreMissing(err) != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != buildsLock {
				names = append(names, filepath.Base(dir)+"/"+e.Name())
			}
		}
	}
	return names
}
