package image

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/hosttool"
	"banger/internal/image/sparse"
	"banger/internal/model"
)

// everything is what lies below a directory, with times and contents.
func everything(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&all, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			fmt.Fprintf(&all, "%x\n", data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// built is a bench with the default image and kernel.
func built(t *testing.T) bench {
	t.Helper()
	b := newBench(t, fakeRecipe{})
	b.tools = HostTools()
	if _, err := b.Obtain(t.Context(), Want{Ref: model.DefaultImage}, model.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := b.EnsureKernel(t.Context(), model.DefaultKernel, model.Discard); err != nil {
		t.Fatal(err)
	}
	return b
}

func check(t *testing.T, s *Service, verify bool) map[string]model.Check {
	t.Helper()
	before := everything(t, filepath.Dir(s.dirs.Data))
	found := map[string]model.Check{}
	for _, c := range s.Check(t.Context(), CheckOptions{Kernel: model.DefaultKernel, Verify: verify, Progress: func(string) {}}) {
		found[c.Name] = c
	}
	if after := everything(t, filepath.Dir(s.dirs.Data)); after != before {
		t.Error("looking changed something")
	}
	return found
}

// spoil writes to the one file of a blob.
func spoil(t *testing.T, b bench, kind, file, content string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(b.dirs.Data, kind, "*", file))
	if err != nil || len(paths) != 1 {
		t.Fatalf("%v, %v", paths, err)
	}
	if err := os.Chmod(paths[0], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths[0], []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCheckOfWhatIsThere(t *testing.T) {
	t.Parallel()
	b := built(t)
	for _, verify := range []bool{false, true} {
		found := check(t, b.Service, verify)
		for _, kind := range []string{kindImage, kindKernel} {
			if c := found[kind]; c.Status != model.CheckOK || !strings.HasPrefix(c.Detail, "1, ") {
				t.Errorf("verify %v: %+v", verify, c)
			}
		}
	}
	// Without rows they count as well: the next daemon adopts them.
	alone := New(Options{Dirs: b.dirs, Tools: b.tools, Log: slog.New(slog.DiscardHandler)})
	if c := check(t, alone, true)[kindImage]; c.Status != model.CheckOK || !strings.HasPrefix(c.Detail, "1, ") {
		t.Errorf("without a catalog: %+v", c)
	}
}

func TestCheckOfWhatIsBroken(t *testing.T) {
	t.Parallel()
	b := built(t)
	spoil(t, b, kindImage, rootFile, "CONTENT")
	if c := check(t, b.Service, false)[kindImage]; c.Status != model.CheckOK {
		t.Errorf("the size is right: %+v", c)
	}
	if c := check(t, b.Service, true)[kindImage]; c.Status != model.CheckProblem || c.Fix != "banger image build --force debian" {
		t.Errorf("other content in the image of new VMs: %+v", c)
	}
	spoil(t, b, kindImage, rootFile, "short")
	if c := check(t, b.Service, false)[kindImage]; c.Status != model.CheckProblem {
		t.Errorf("another size: %+v", c)
	}
	other := CheckOptions{Image: "other", Kernel: model.DefaultKernel}
	if c := b.Check(t.Context(), other)[0]; c.Name != kindImage || c.Status != model.CheckWarning {
		t.Errorf("an image that new VMs do not get: %+v", c)
	}
	spoil(t, b, kindKernel, vmlinuxFile, "short")
	if c := check(t, b.Service, false)[kindKernel]; c.Status != model.CheckWarning {
		t.Errorf("the default kernel is made again by itself: %+v", c)
	}
}

func TestCheckOfTheBuildsTools(t *testing.T) {
	t.Parallel()
	bare := Tools{
		Find:   func(name, pkg string) (string, error) { return hosttool.Find("no-such-"+name, pkg) },
		Owners: func() error { return model.Fixable(model.ErrUnsupported, "add them", "you have none") },
	}
	for _, there := range []bool{false, true} {
		b, want := newBench(t, fakeRecipe{}), model.CheckProblem
		if there { // what could not be built again keeps no VM from running
			b, want = built(t), model.CheckWarning
		}
		b.tools = bare
		found := check(t, b.Service, false)
		for name, fix := range map[string]string{
			"image-build": "sudo apt-get install mmdebstrap", "kernel-build": "sudo apt-get install apt", "subordinate-ids": "add them",
		} {
			if c := found[name]; c.Status != want || c.Fix != fix {
				t.Errorf("image and kernel there: %v: %+v", there, c)
			}
		}
	}
	root := newBench(t, fakeRecipe{})
	root.tools = Tools{Find: bare.Find}
	if c := check(t, root.Service, false)["subordinate-ids"]; c.Status != model.CheckOK {
		t.Errorf("root: %+v", c)
	}
}

// TestVerifyKnowsEarlierDigests gives an image the digests that earlier versions wrote.
func TestVerifyKnowsEarlierDigests(t *testing.T) {
	t.Parallel()
	b := built(t)
	i, err := b.Image(t.Context(), model.DefaultImage)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(b.ImageFile(i.Digest))
	m, err := readManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(b.ImageFile(i.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	whole, err := sparse.Digest(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := sparse.DataDigest(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	segments := m.Files[rootFile].Digest
	if whole == data || data == segments || !m.Files[rootFile].Segments {
		t.Fatalf("%s, %s, %s", whole, data, segments)
	}
	for _, c := range []struct {
		info fileInfo
		ok   bool
	}{
		{fileInfo{Digest: whole}, true},
		{fileInfo{Digest: data, Data: true}, true},
		{fileInfo{Digest: data}, false},
		{fileInfo{Digest: data, Segments: true}, false},
		{fileInfo{Digest: segments, Segments: true}, true},
	} {
		c.info.Bytes = i.SizeBytes
		m.Files[rootFile] = c.info
		text, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		spoil(t, b, kindImage, manifestFile, string(text))
		if err := b.VerifyContent(t.Context(), i.Digest); (err == nil) != c.ok || err != nil && !errors.Is(err, model.ErrCorrupt) {
			t.Errorf("%+v: %v", c.info, err)
		}
	}
}
