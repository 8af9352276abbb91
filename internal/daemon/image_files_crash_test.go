//go:build crash

package daemon_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"banger/client"
	"banger/internal/image/sparse"
	"banger/internal/model"
)

// registerOnce makes an image and returns its directory.
func registerOnce(t *testing.T, in inputs) string {
	t.Helper()
	h := newBareHost(t)
	cmd := h.start(in.env(h)...)
	made, err := finish(h.dial().RegisterImage(t.Context(), client.RegisterRequest{Name: "mine", Path: in.disk}))
	if err != nil {
		t.Fatal(err)
	}
	h.stop(cmd)
	return filepath.Join(h.dirs.Images(), model.Digest(made.Image.Digest).Hex())
}

// whole returns the images and their names. What there is of images and kernels is what its digests say.
func (h *host) whole(c *client.Client) (names []string, images []client.Image) {
	h.t.Helper()
	images, ierr := c.Images(h.t.Context())
	kernels, kerr := c.Kernels(h.t.Context())
	if err := errors.Join(ierr, kerr); err != nil {
		h.t.Fatal(err)
	}
	for _, i := range images {
		names = append(names, i.Tags...)
		h.compare(filepath.Join(h.dirs.Images(), model.Digest(i.Digest).Hex()))
	}
	for _, k := range kernels {
		h.compare(filepath.Join(h.dirs.Kernels(), model.Digest(k.Digest).Hex()))
	}
	slices.Sort(names)
	return names, images
}

// compare reads the files of a blob.
func (h *host) compare(dir string) {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	var manifest struct {
		Files map[string]struct {
			Digest   model.Digest
			Segments bool
		}
	}
	if err := errors.Join(err, json.Unmarshal(data, &manifest)); err != nil || len(manifest.Files) == 0 {
		h.t.Errorf("the manifest in %s: %v", dir, err)
	}
	for name, want := range manifest.Files {
		file, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			h.t.Error(err)
			continue
		}
		defer file.Close()
		digest := sparse.Digest
		if want.Segments {
			digest = sparse.SegmentDigest
		}
		if got, err := digest(h.t.Context(), file); err != nil || got != want.Digest {
			h.t.Errorf("%s in %s has the digest %s instead of %s: %v", name, dir, got, want.Digest, err)
		}
	}
}

func (h *host) remove(dir string) {
	h.t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		h.t.Fatal(err)
	}
}

// take gives this host an image of another one.
func (h *host) take(blob string) {
	h.t.Helper()
	to := filepath.Join(h.dirs.Images(), filepath.Base(blob))
	files, err := os.ReadDir(blob)
	if err := errors.Join(err, os.MkdirAll(to, 0o700)); err != nil {
		h.t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Link(filepath.Join(blob, f.Name()), filepath.Join(to, f.Name())); err != nil {
			h.t.Fatal(err)
		}
	}
}

// plantLayers puts what a pull has downloaded into the cache.
func (h *host) plantLayers() {
	h.t.Helper()
	dir := filepath.Join(h.dirs.Cache, "layers")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		h.t.Fatal(err)
	}
	for _, name := range []string{"builds", fmt.Sprintf("%064x", 1), fmt.Sprintf("%064x", 2)} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
}
