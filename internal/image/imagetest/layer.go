// Package imagetest makes images and serves them from a registry that can misbehave. It is for tests.
package imagetest

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// File is one entry of a layer. The zero Type is a regular file, the zero Mode 0644 or, for a directory, 0755.
type File struct {
	Name     string
	Type     byte
	Mode     int64
	Content  string
	Link     string
	UID, GID int
	Major    int64
	Minor    int64
	Xattrs   map[string]string
}

// Tar is a layer's archive of files, in their order.
func Tar(files ...File) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{
			Typeflag: f.Type, Name: f.Name, Mode: f.Mode, Size: int64(len(f.Content)), Linkname: f.Link, Uid: f.UID, Gid: f.GID,
			Devmajor: f.Major, Devminor: f.Minor, Format: tar.FormatPAX,
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		if len(f.Xattrs) > 0 {
			h.PAXRecords = map[string]string{}
		}
		for key, value := range maps.All(f.Xattrs) {
			h.PAXRecords["SCHILY.xattr."+key] = value
		}
		must(w.WriteHeader(h))
		_, err := io.WriteString(w, f.Content)
		must(err)
	}
	must(w.Close())
	return out.Bytes()
}

// must fails a test that asks for what cannot be: there is nothing to undo.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Image is an image of layers, lowest first, compressed as docker does.
func Image(config v1.Config, layers ...[]byte) v1.Image {
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: config, RootFS: v1.RootFS{Type: "layers"}})
	must(err)
	for _, data := range layers {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		must(err)
		image, err = mutate.AppendLayers(image, layer)
		must(err)
	}
	return image
}

// Zstd is the image with its layers compressed by zstd.
func Zstd(image v1.Image) v1.Image {
	config, err := image.ConfigFile()
	must(err)
	config = config.DeepCopy()
	config.RootFS.DiffIDs, config.History = nil, nil
	bare, err := mutate.ConfigFile(mutate.MediaType(empty.Image, types.OCIManifestSchema1), config)
	must(err)
	layers, err := image.Layers()
	must(err)
	for _, l := range layers {
		layer, err := tarball.LayerFromOpener(l.Uncompressed, tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd))
		must(err)
		bare, err = mutate.AppendLayers(bare, layer)
		must(err)
	}
	return bare
}

// For is the image for another platform.
func For(image v1.Image, os, arch string) v1.Image {
	config, err := image.ConfigFile()
	must(err)
	config = config.DeepCopy()
	config.OS, config.Architecture = os, arch
	image, err = mutate.ConfigFile(image, config)
	must(err)
	return image
}

// Index is an index of images by their platforms.
func Index(images ...v1.Image) v1.ImageIndex {
	index := v1.ImageIndex(empty.Index)
	for _, image := range images {
		config, err := image.ConfigFile()
		must(err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: config.OS, Architecture: config.Architecture},
		}})
	}
	return index
}

// WriteLayout makes dir the OCI layout of an image.
func WriteLayout(dir string, image v1.Image) {
	path, err := layout.Write(dir, empty.Index)
	must(err)
	must(path.AppendImage(image))
}
