package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"

	"banger/internal/image/imagetest"
	"banger/internal/model"
)

func gzipped(data []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(data)
	_ = w.Close()
	return out.Bytes()
}

func zstded(data []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(data, nil)
}

// savedByDocker is what docker save writes in its old way: plain layers in directories of their own, one of them a link to
// another where they are the same.
func savedByDocker(t *testing.T, tag string, image v1.Image) []byte {
	t.Helper()
	config, err := image.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%x.json", sha256.Sum256(config))
	files := []imagetest.File{{Name: name, Content: string(config)}}
	saved := map[string]any{"Config": name, "RepoTags": []string{tag}}
	var names []string
	for n, l := range layers {
		plain, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(plain)
		if err != nil {
			t.Fatal(err)
		}
		dir := fmt.Sprintf("%x", sha256.Sum256([]byte{byte(n)}))
		other := fmt.Sprintf("%x", sha256.Sum256([]byte{byte(n), 1}))
		files = append(files,
			imagetest.File{Name: dir + "/", Type: tar.TypeDir}, imagetest.File{Name: dir + "/VERSION", Content: "1.0"},
			imagetest.File{Name: dir + "/layer.tar", Type: tar.TypeSymlink, Link: "../" + other + "/layer.tar"},
			imagetest.File{Name: other + "/layer.tar", Content: string(data)})
		names = append(names, dir+"/layer.tar")
	}
	saved["Layers"] = names
	manifest, err := json.Marshal([]any{saved})
	if err != nil {
		t.Fatal(err)
	}
	return imagetest.Tar(append(files, imagetest.File{Name: "manifest.json", Content: string(manifest)}, imagetest.File{Name: "repositories", Content: "{}"})...)
}

// savedByCrane is the same with compressed layers, as other tools write it.
func savedByCrane(t *testing.T, tag string, image v1.Image) []byte {
	t.Helper()
	ref, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tarball.Write(ref, image, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// tarOf is a directory's tar, the directory's own entry first as tar -C dir . has it.
func tarOf(t *testing.T, dir string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func layoutOf(t *testing.T, image v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	imagetest.WriteLayout(dir, image)
	return dir
}

func TestImport(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	root := imagetest.Tar(imagetest.File{Name: "./", Type: tar.TypeDir}, imagetest.File{Name: "./new", Content: filler(200_000, 2)}, imagetest.File{Name: "./bin/tool", Content: "x"})
	twice := imagetest.Tar(imagetest.File{Name: "new", Content: "old"}, imagetest.File{Name: "new", Content: filler(200_000, 2)})
	saved := savedByDocker(t, "localhost/team/tool:3", twoLayers(1))
	layout := layoutOf(t, twoLayers(1))
	for title, c := range map[string]struct {
		data  []byte
		dir   string
		name  string
		want  string // the name that it gets
		image bool   // with a configuration
	}{
		"a root file system":                   {data: root, name: "mine", want: "mine"},
		"with gzip":                            {data: gzipped(root), name: "mine:2", want: "mine:2"},
		"with zstd":                            {data: zstded(root), name: "a/b", want: "a/b:latest"},
		"a root file system with a file twice": {data: gzipped(twice), name: "mine", want: "mine"},
		"docker save":                          {data: saved, want: "localhost/team/tool:3", image: true},
		"docker save by another tool":          {data: savedByCrane(t, "localhost/team/tool:4", twoLayers(1)), want: "localhost/team/tool:4", image: true},
		"docker save with gzip":                {data: gzipped(saved), name: "other", want: "other", image: true},
		"a layout":                             {dir: layout, name: "mine", want: "mine", image: true},
		"a layout's tar":                       {data: tarOf(t, layout), name: "mine", want: "mine", image: true},
		"a layout's tar, compressed by zstd":   {data: zstded(tarOf(t, layout)), name: "mine", want: "mine", image: true},
	} {
		for _, stream := range []bool{false, true} {
			if stream && c.dir != "" {
				continue
			}
			t.Run(title, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, fakeRecipe{})
				r := ImportRequest{Name: c.name, Path: c.dir}
				switch {
				case stream:
					r.Stream = bytes.NewReader(c.data)
				case c.dir == "":
					r.Path = filepath.Join(t.TempDir(), "file")
					if err := os.WriteFile(r.Path, c.data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				i, err := b.Import(t.Context(), r, model.Discard)
				if err != nil {
					t.Fatal(err)
				}
				if i.Name != c.want || (len(i.Entrypoint) > 0) != c.image || i.Platform != "linux/amd64" {
					t.Errorf("%+v", i)
				}
				if got := inside(t, b.ImageFile(i.Digest), "stat /new"); !strings.Contains(got, "Size: 200000") {
					t.Error(got)
				}
				if err := b.VerifyContent(t.Context(), i.Digest); err != nil {
					t.Error(err)
				}
				if left := b.traces(t); len(left) != 0 {
					t.Errorf("left %v", left)
				}
			})
		}
	}
}

// broken makes a copy of a layout with one of its blobs changed.
func broken(t *testing.T, image v1.Image, which func(m *v1.Manifest) v1.Hash, change func(data []byte) []byte) string {
	t.Helper()
	dir := layoutOf(t, image)
	m, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "blobs", "sha256", which(m).Hex)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if data = change(data); data != nil {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestEachNameKeepsItsConfiguration has images of the same files that are run in different ways.
func TestEachNameKeepsItsConfiguration(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	b := newBench(t, fakeRecipe{})
	root := imagetest.Tar(imagetest.File{Name: "f", Content: filler(100_000, 1)})
	take := func(name string, c v1.Config) model.Image {
		t.Helper()
		i, err := b.Import(t.Context(), ImportRequest{Name: name, Path: layoutOf(t, imagetest.Image(c, root))}, model.Discard)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	one := take("one", v1.Config{Entrypoint: []string{"/one"}, Env: []string{"A=1"}, User: "1", WorkingDir: "/w1", StopSignal: "SIGQUIT"})
	if _, err := b.Tag(t.Context(), "one", "kept"); err != nil {
		t.Fatal(err)
	}
	two := take("two", v1.Config{Cmd: []string{"/two"}, Labels: map[string]string{"a": "b"}})
	if _, err := b.Register(t.Context(), RegisterRequest{Name: "bare", Path: b.ImageFile(one.Digest)}, model.Discard); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"one": `["/one"] [] ["A=1"] /w1 1 SIGQUIT map[]`, "kept": `["/one"] [] ["A=1"] /w1 1 SIGQUIT map[]`,
		"two": `[] ["/two"] []    map[a:b]`, "bare": `[] [] []    map[]`, string(one.Digest): `["/one"] [] ["A=1"] /w1 1 SIGQUIT map[]`,
	} {
		i, err := b.Image(t.Context(), name)
		if got := fmt.Sprintf("%q %q %q %s %s %s %v", i.Entrypoint, i.Cmd, i.Env, i.Workdir, i.User, i.StopSignal, i.Labels); err != nil || got != want {
			t.Errorf("%s is run as %s, not %s; %v", name, got, want, err)
		}
	}
	// A name goes over to another configuration alone.
	take("kept", v1.Config{Cmd: []string{"/two"}, Labels: map[string]string{"a": "b"}})
	if i, err := b.Image(t.Context(), "kept"); err != nil || i.Digest != two.Digest || fmt.Sprint(i.Tags) != "[two kept]" {
		t.Errorf("kept is %v with the names %v, %v", i.Digest, i.Tags, err)
	}
	if i, err := b.Image(t.Context(), "one"); err != nil || i.Digest != one.Digest || fmt.Sprint(i.Tags) != "[one]" {
		t.Errorf("one is %v with the names %v, %v", i.Digest, i.Tags, err)
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	file := func(data []byte) string {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	image := twoLayers(1)
	flip := func(data []byte) []byte { data[len(data)/2] ^= 1; return data }
	config := func(m *v1.Manifest) v1.Hash { return m.Config.Digest }
	layer := func(m *v1.Manifest) v1.Hash { return m.Layers[1].Digest }
	ext4 := make([]byte, 4096)
	ext4[0x438], ext4[0x439] = 0x53, 0xef
	root := imagetest.Tar(imagetest.File{Name: "f", Content: filler(100_000, 1)})
	saved := savedByDocker(t, "a:1", image)
	two, err := json.Marshal([]map[string]any{{"Config": "a", "RepoTags": []string{"a:1"}}, {"Config": "b", "RepoTags": []string{"b:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	for title, c := range map[string]struct {
		path, name, want string
		kind             error
	}{
		"not there":                 {path: "/no/such/file", want: "no such file", kind: model.ErrNotFound},
		"a device":                  {path: "/dev/null", want: "no file", kind: model.ErrInvalid},
		"a directory":               {path: t.TempDir(), want: "no OCI layout", kind: model.ErrInvalid},
		"empty":                     {path: file(nil), want: "empty", kind: model.ErrInvalid},
		"text":                      {path: file([]byte("hello, this is no archive\n")), want: "no tar", kind: model.ErrInvalid},
		"much text":                 {path: file(bytes.Repeat([]byte("x"), 5000)), want: "no tar", kind: model.ErrInvalid},
		"xz":                        {path: file([]byte("\xfd7zXZ\x00 and so on")), want: "xz", kind: model.ErrUnsupported},
		"bzip2":                     {path: file([]byte("BZh91AY and so on")), want: "bzip2", kind: model.ErrUnsupported},
		"an ext4 file":              {path: file(ext4), want: "banger image register", kind: model.ErrInvalid},
		"a qcow2 disk":              {path: file([]byte("QFI\xfb\x00\x00\x00\x03")), want: "qcow2", kind: model.ErrUnsupported},
		"a tar of nothing":          {path: file(imagetest.Tar()), want: "no file", kind: model.ErrInvalid},
		"a tar cut off":             {path: file(root[:50_000]), want: "", kind: nil},
		"a gzip cut off":            {path: file(gzipped(root)[:50_000]), want: "banger image import", kind: model.ErrCorrupt},
		"a gzip of text":            {path: file(gzipped([]byte("text"))), want: "broken", kind: model.ErrCorrupt},
		"no name":                   {path: file(root), name: "-", want: "--name", kind: model.ErrInvalid},
		"a digest for a name":       {path: file(root), name: "a@sha256:" + strings.Repeat("a", 64), want: "digest", kind: model.ErrInvalid},
		"a changed configuration":   {path: broken(t, image, config, flip), want: "digest", kind: model.ErrCorrupt},
		"a changed layer":           {path: broken(t, image, layer, flip), want: "", kind: model.ErrCorrupt},
		"a longer layer":            {path: broken(t, image, layer, func(d []byte) []byte { return append(d, 0) }), want: "bytes instead of", kind: model.ErrCorrupt},
		"a missing layer":           {path: broken(t, image, layer, func([]byte) []byte { return nil }), want: "missing", kind: model.ErrCorrupt},
		"a missing configuration":   {path: broken(t, image, config, func([]byte) []byte { return nil }), want: "missing", kind: model.ErrCorrupt},
		"for another platform":      {path: layoutOf(t, imagetest.For(image, "linux", "arm64")), want: "linux/arm64", kind: model.ErrNotFound},
		"for another system":        {path: file(savedByDocker(t, "a:1", imagetest.For(image, "windows", "amd64"))), want: "windows/amd64", kind: model.ErrNotFound},
		"docker save cut off":       {path: file(saved[:len(saved)/2]), want: "broken", kind: model.ErrCorrupt},
		"a changed saved layer":     {path: file(flip(savedByDocker(t, "a:1", image))), want: "digest", kind: model.ErrCorrupt},
		"several images":            {path: file(imagetest.Tar(imagetest.File{Name: "manifest.json", Content: string(two)})), want: "a:1, b:1", kind: model.ErrInvalid},
		"a manifest of rubbish":     {path: file(imagetest.Tar(imagetest.File{Name: "manifest.json", Content: "]"})), want: "cannot be read", kind: model.ErrCorrupt},
		"an impossible user":        {path: layoutOf(t, imagetest.Image(v1.Config{User: "a b"}, root)), want: "not a user", kind: model.ErrInvalid},
		"an impossible environment": {path: layoutOf(t, imagetest.Image(v1.Config{Env: []string{"A=\x00"}}, root)), want: "environment", kind: model.ErrInvalid},
		"an impossible stop signal": {path: layoutOf(t, imagetest.Image(v1.Config{StopSignal: "SIGNOTHING"}, root)), want: "not a signal", kind: model.ErrInvalid},
		"too many layers":           {path: layoutOf(t, manyLayers(130)), want: "128", kind: model.ErrInvalid},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, fakeRecipe{})
			called := map[string]string{"": "mine", "-": ""}[c.name]
			if c.name != "" && c.name != "-" {
				called = c.name
			}
			i, err := b.Import(t.Context(), ImportRequest{Name: called, Path: c.path}, model.Discard)
			if err == nil || (c.kind != nil && !errors.Is(err, c.kind)) || !strings.Contains(err.Error(), c.want) || model.KindOf(err) == nil {
				t.Errorf("%+v, %v (kind %v)", i, err, model.KindOf(err))
			}
			if left := append(b.left(t), b.traces(t)...); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

func manyLayers(n int) v1.Image {
	var all [][]byte
	for range n {
		all = append(all, imagetest.Tar(imagetest.File{Name: "f"}))
	}
	return imagetest.Image(v1.Config{}, all...)
}

// TestImportStreamBreaks is of a client that leaves in the middle.
func TestImportStreamBreaks(t *testing.T) {
	t.Parallel()
	b := newBench(t, fakeRecipe{})
	left := errors.New("the client left")
	data := imagetest.Tar(imagetest.File{Name: "f", Content: filler(100_000, 1)})
	_, err := b.Import(t.Context(), ImportRequest{Name: "mine", Stream: io.MultiReader(bytes.NewReader(data[:50_000]), failing{left})}, model.Discard)
	if !errors.Is(err, left) {
		t.Errorf("got %v", err)
	}
	if left := append(b.left(t), b.traces(t)...); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

func TestCancelImport(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	data := gzipped(savedByDocker(t, "a:1", twoLayers(1)))
	for _, stage := range []string{"read the archive", "read the layers", "finish the file system"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, fakeRecipe{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, err := b.Import(ctx, ImportRequest{Stream: bytes.NewReader(data)}, func(p model.Progress) {
				if p.Stage == stage {
					cancel()
				}
			})
			if !errors.Is(err, model.ErrCanceled) {
				t.Errorf("got %v", err)
			}
			if left := append(b.left(t), b.traces(t)...); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}
