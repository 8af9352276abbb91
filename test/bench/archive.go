package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// imageTar writes the default image's /usr to a tar: programs, libraries and documents as any distribution has them.
func imageTar(ctx context.Context, h *host, to string) error {
	m, err := h.newHome(ctx)
	if err != nil {
		return err
	}
	defer m.close()
	if err := m.startVM(ctx, "box"); err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	cmd := m.command(ctx, "cp", "box:/usr", "-")
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = out, &said
	err = cmd.Run()
	if err != nil {
		err = fmt.Errorf("banger cp: %w: %s", err, said.String())
	}
	return errors.Join(err, out.Close())
}

// cut divides a tar's entries, over and over under other names, into so many tars of about the same size, bytes together,
// and returns their names and their size.
func cut(from string, bytes int64, parts int, dir string) (names []string, size int64, err error) {
	file, err := os.Open(from)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	in := &repeated{file: file, tar: tar.NewReader(file)}
	for i := range parts {
		name := filepath.Join(dir, fmt.Sprintf("%d-of-%d.tar", i+1, parts))
		written, err := copyEntries(name, in, bytes/int64(parts))
		if err != nil {
			return nil, 0, err
		}
		names, size = append(names, name), size+written
	}
	return names, size, nil
}

// repeated reads a tar's entries without end, from the second round on in directories of their own.
type repeated struct {
	file *os.File
	tar  *tar.Reader
	n    int
}

func (r *repeated) next() (*tar.Header, error) {
	h, err := r.tar.Next()
	if errors.Is(err, io.EOF) {
		if _, err := r.file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		r.tar = tar.NewReader(r.file)
		r.n++
		h, err = r.tar.Next()
	}
	if err != nil || r.n == 0 {
		return h, err
	}
	dir := fmt.Sprintf("round-%d/", r.n)
	h.Name = dir + h.Name
	if h.Typeflag == tar.TypeLink {
		h.Linkname = dir + h.Linkname
	}
	return h, nil
}

// copyEntries writes whole entries until there are more than size bytes, and returns how many there are.
func copyEntries(name string, in *repeated, size int64) (int64, error) {
	file, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	out := tar.NewWriter(file)
	for written := int64(0); written < size; {
		h, err := in.next()
		if err != nil {
			return 0, err
		}
		// Holes were filled by the reader.
		maps.DeleteFunc(h.PAXRecords, func(key, _ string) bool { return strings.HasPrefix(key, "GNU.sparse.") })
		if err := out.WriteHeader(h); err != nil {
			return 0, err
		}
		n, err := io.Copy(out, in.tar)
		if err != nil {
			return 0, err
		}
		written += n
	}
	if err := out.Close(); err != nil {
		return 0, err
	}
	return file.Seek(0, io.SeekCurrent)
}

// imageOf is an image of layers, lowest first, compressed as docker does.
func imageOf(layers []string) (v1.Image, error) {
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		return nil, err
	}
	for _, name := range layers {
		layer, err := tarball.LayerFromFile(name, tarball.WithCompressionLevel(gzip.DefaultCompression), tarball.WithCompressedCaching)
		if err != nil {
			return nil, err
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// writeLayout makes dir the OCI layout of an image, and returns the files of its layers.
func writeLayout(dir string, image v1.Image) ([]string, error) {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return nil, err
	}
	if err := path.AppendImage(image); err != nil {
		return nil, err
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	var blobs []string
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, filepath.Join(dir, "blobs", digest.Algorithm, digest.Hex))
	}
	return blobs, nil
}
