package archive

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"strings"

	"banger/internal/image/blobcache"
	"banger/internal/image/layers"
	"banger/internal/image/oci"
	"banger/internal/model"
)

// Image is one image of an archive.
type Image struct {
	Names    []string     // what the archive calls it
	Manifest model.Digest // "" for one that docker saved in its old way
	Config   oci.Config
	Layers   []layers.Layer // lowest first; their digests are checked as they are read to their end
}

// maxDocument caps each document of an archive.
const maxDocument = 4 << 20

// Image returns the one image of the archive for a platform.
func (a *Archive) Image(want oci.Platform) (Image, error) {
	i, err := a.fromLayout(want)
	if errors.Is(err, fs.ErrNotExist) {
		i, err = a.fromDocker(want)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return i, model.Errorf(model.ErrCorrupt, "cannot import %s: a part of it is missing: %w", a.name, err)
	case err != nil && model.KindOf(err) != nil:
		return i, model.Errorf(model.KindOf(err), "cannot import %s: %w", a.name, err)
	case err != nil:
		return i, a.broken(err)
	}
	return i, nil
}

// fromLayout reads an OCI layout. What is missing of it is fs.ErrNotExist only when it is none.
func (a *Archive) fromLayout(want oci.Platform) (Image, error) {
	if err := a.has(fileLayout); err != nil {
		return Image{}, err
	}
	data, err := a.document(fileIndex)
	if err != nil {
		return Image{}, missing(err)
	}
	entry, err := a.find(data, want, 0)
	if err != nil {
		return Image{}, missing(err)
	}
	data, err = a.blob(entry.Blob)
	if err != nil {
		return Image{}, missing(err)
	}
	doc, err := oci.Parse(data)
	if err != nil {
		return Image{}, err
	}
	if doc.Manifest == nil {
		return Image{}, model.Errorf(model.ErrUnsupported, "its indexes lie too deep in each other")
	}
	if data, err = a.blob(doc.Manifest.Config); err != nil {
		return Image{}, missing(err)
	}
	i := Image{Names: entry.Names, Manifest: entry.Digest}
	if i.Config, err = oci.ParseConfig(data, want); err != nil {
		return Image{}, err
	}
	for _, b := range doc.Manifest.Layers {
		i.Layers = append(i.Layers, a.layer(blobPath(b.Digest), b.Digest, b.Size))
	}
	return i, nil
}

// maxNesting is how deep indexes of indexes are followed.
const maxNesting = 3

// find descends from an index to the manifest of a platform.
func (a *Archive) find(data []byte, want oci.Platform, depth int) (oci.Entry, error) {
	doc, err := oci.Parse(data)
	if err != nil {
		return oci.Entry{}, err
	}
	if depth == 0 {
		if err := onlyOne(doc.Index); err != nil {
			return oci.Entry{}, err
		}
	}
	entry, err := oci.Choose(doc.Index, want)
	if err != nil || depth == maxNesting {
		return entry, err
	}
	below, err := a.blob(entry.Blob)
	if err != nil {
		return entry, err
	}
	if doc, err = oci.Parse(below); err != nil || doc.Manifest != nil {
		return entry, err
	}
	deeper, err := a.find(below, want, depth+1)
	if len(deeper.Names) == 0 {
		deeper.Names = entry.Names
	}
	return deeper, err
}

// onlyOne refuses an archive of several images: which one is meant?
func onlyOne(index []oci.Entry) error {
	var names []string
	digests := map[model.Digest]bool{}
	for _, e := range index {
		if len(e.Names) > 0 && !digests[e.Digest] {
			digests[e.Digest] = true
			names = append(names, e.Names[0])
		}
	}
	if len(names) > 1 {
		return severalImages(names)
	}
	return nil
}

func severalImages(names []string) error {
	return model.Errorf(model.ErrInvalid, "it holds several images (%.300s); save one of them alone", strings.Join(names, ", "))
}

// savedImage is an entry of docker's manifest.json.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (a *Archive) fromDocker(want oci.Platform) (Image, error) {
	data, err := a.document(fileDocker)
	if err != nil {
		return Image{}, err
	}
	var saved []savedImage
	if err := json.Unmarshal(data, &saved); err != nil || len(saved) == 0 {
		return Image{}, model.Errorf(model.ErrCorrupt, "its %s cannot be read", fileDocker)
	}
	if len(saved) > 1 {
		var names []string
		for _, s := range saved {
			names = append(names, append(slices.Clone(s.RepoTags), s.Config)[0])
		}
		return Image{}, severalImages(names)
	}
	if len(saved[0].Layers) > oci.MaxLayers {
		return Image{}, model.Errorf(model.ErrInvalid, "it has %d layers: at most %d are taken", len(saved[0].Layers), oci.MaxLayers)
	}
	if data, err = a.document(saved[0].Config); err != nil {
		return Image{}, err
	}
	i := Image{Names: saved[0].RepoTags}
	if i.Config, err = oci.ParseConfig(data, want); err != nil {
		return Image{}, err
	}
	if len(i.Config.DiffIDs) != len(saved[0].Layers) {
		return Image{}, model.Errorf(model.ErrCorrupt, "its configuration tells of %d layers, its %s of %d", len(i.Config.DiffIDs), fileDocker, len(saved[0].Layers))
	}
	for n, name := range saved[0].Layers {
		layer, err := a.savedLayer(name, i.Config.DiffIDs[n])
		if err != nil {
			return Image{}, err
		}
		i.Layers = append(i.Layers, layer)
	}
	return i, nil
}

// savedLayer is known by the digest of its uncompressed tar, which most such archives hold as it is.
func (a *Archive) savedLayer(name string, diffID model.Digest) (layers.Layer, error) {
	in, size, err := a.tree.open(name)
	if err != nil {
		return layers.Layer{}, err
	}
	defer in.Close()
	head := make([]byte, 4)
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return layers.Layer{}, err
	}
	if head = head[:n]; strings.HasPrefix(string(head), "\x1f\x8b") || string(head) == "\x28\xb5\x2f\xfd" {
		diffID = "" // of what only its reader decompresses
	}
	return a.layer(name, diffID, size), nil
}

func (a *Archive) layer(name string, d model.Digest, size int64) layers.Layer {
	return layers.Layer{Size: size, Open: func(ctx context.Context) (io.ReadCloser, error) {
		in, there, err := a.tree.open(name)
		if err != nil {
			return nil, model.Errorf(model.ErrCorrupt, "cannot import %s: the layer %s is missing: %w", a.name, short(name, d), err)
		}
		if there != size {
			in.Close()
			return nil, model.Errorf(model.ErrCorrupt, "cannot import %s: the layer %s has %d bytes instead of %d", a.name, short(name, d), there, size)
		}
		if d == "" {
			return in, nil
		}
		return &checked{ReadCloser: in, archive: a.name, want: d, sum: sha256.New()}, nil
	}}
}

func short(name string, d model.Digest) string {
	if d != "" {
		return d.Short()
	}
	return fmt.Sprintf("%.80q", name)
}

// checked compares the digest of a layer when it has been read to its end.
type checked struct {
	io.ReadCloser
	archive string
	want    model.Digest
	sum     hash.Hash
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && fmt.Sprintf("sha256:%x", c.sum.Sum(nil)) != string(c.want) {
		return n, model.Errorf(model.ErrCorrupt, "cannot import %s: the content of the layer %s is not what its digest says", c.archive, c.want.Short())
	}
	return n, err
}

// blob reads a small blob and checks it.
func (a *Archive) blob(b blobcache.Blob) ([]byte, error) {
	if !b.Digest.Valid() {
		return nil, model.Errorf(model.ErrUnsupported, "a part of it is known by %.80q, which is no SHA-256", b.Digest)
	}
	data, err := a.document(blobPath(b.Digest))
	if err != nil {
		return nil, err
	}
	if fmt.Sprintf("sha256:%x", sha256.Sum256(data)) != string(b.Digest) {
		return nil, model.Errorf(model.ErrCorrupt, "the content of %s is not what its digest says", b.Digest.Short())
	}
	return data, nil
}

func blobPath(d model.Digest) string { return "blobs/sha256/" + d.Hex() }

func (a *Archive) document(name string) ([]byte, error) {
	in, size, err := a.tree.open(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if size > maxDocument {
		return nil, model.Errorf(model.ErrInvalid, "its %.80q has %d bytes: at most %d are taken", name, size, maxDocument)
	}
	return io.ReadAll(io.LimitReader(in, maxDocument))
}

// missing keeps a part that is missing from being taken for another kind of archive.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return model.Errorf(model.ErrCorrupt, "a part of it is missing: %s", err)
	}
	return err
}
