// Package archive opens the files that images are imported from.
//
// What a file is, is told by its content: a root file system's tar, what docker saves, or an OCI layout; plain or
// compressed. Nothing is unpacked: members are read where they lie.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"banger/internal/image/layers"
	"banger/internal/model"
)

// Archive is an opened file or directory. Close ends it.
type Archive struct {
	name  string
	root  *layers.Layer // of a root file system's tar
	tree  tree          // of an image's archive
	close []io.Closer
}

// Options say what to do with what is opened.
type Options struct {
	Scratch  string // a directory for a compressed image's archive, which has to be read out of order
	MaxBytes int64  // of such an archive, uncompressed
	Progress func(bytes int64)
}

// OpenPath opens a file or the directory of an OCI layout. Devices and FIFOs are refused without waiting for them.
func OpenPath(ctx context.Context, path string, o Options) (*Archive, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, openError(path, err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	switch {
	case info.IsDir():
		file.Close()
		return openLayout(path)
	case !info.Mode().IsRegular():
		file.Close()
		return nil, model.Errorf(model.ErrInvalid, "cannot import %s: it is no file; to read a stream, give - and send it to standard input", path)
	}
	return OpenFile(ctx, file, path, o)
}

func openError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return model.Errorf(model.ErrNotFound, "cannot import %s: there is no such file", path)
	case errors.Is(err, fs.ErrPermission):
		return model.Errorf(model.ErrDenied, "cannot import %s: you may not read it; look at its permissions with: ls -l %s", path, path)
	}
	return model.HostErrorf(err, "cannot import %s", path)
}

// OpenFile opens a file that the Archive owns from then on. name is what messages call it.
func OpenFile(ctx context.Context, file *os.File, name string, o Options) (*Archive, error) {
	a := &Archive{name: name, close: []io.Closer{file}}
	if err := a.open(ctx, file, o); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Archive) open(ctx context.Context, file *os.File, o Options) error {
	kind, err := sniff(file)
	if err != nil {
		return err
	}
	if err := a.refuse(kind); err != nil {
		return err
	}
	if kind != kindTar {
		image, err := beginsAsImage(ctx, file, kind)
		if err != nil {
			return a.broken(err)
		}
		if !image {
			return a.openRoot(file)
		}
		plain, err := decompress(ctx, file, kind, o)
		if err != nil {
			return a.broken(err)
		}
		a.close = append(a.close, plain)
		file = plain
	}
	members, err := readIndex(ctx, file)
	switch {
	case err != nil:
		return a.broken(err)
	case members == nil:
		return a.openRoot(file)
	}
	a.tree = members
	return nil
}

// refuse explains what is not an archive at all.
func (a *Archive) refuse(k kind) error {
	switch k {
	case kindTar, kindGzip, kindZstd:
		return nil
	case kindEmpty:
		return model.Errorf(model.ErrInvalid, "cannot import %s: it is empty", a.name)
	case kindXz, kindBzip2:
		return model.Errorf(model.ErrUnsupported, "cannot import %s: it is compressed with %s; decompress it first, or use gzip or zstd", a.name, k)
	case kindExt4:
		return model.Errorf(model.ErrInvalid, "cannot import %s: it is a file system and no archive; take it with: banger image register", a.name)
	case kindQcow2:
		return model.Errorf(model.ErrUnsupported, "cannot import %s: it is a qcow2 disk; turn its root file system into an ext4 file and take that with: banger image register", a.name)
	}
	return model.Errorf(model.ErrInvalid, "cannot import %s: it is no tar archive, plain or compressed with gzip or zstd", a.name)
}

func (a *Archive) broken(err error) error {
	if model.KindOf(err) != nil || errors.As(err, new(*fs.PathError)) || errors.Is(err, context.Canceled) {
		return err
	}
	return model.Errorf(model.ErrCorrupt, "cannot import %s: the archive is broken: %w", a.name, err)
}

func (a *Archive) openRoot(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	a.root = &layers.Layer{Size: info.Size(), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(file, 0, info.Size())), nil
	}}
	return nil
}

// Rootfs returns the one layer of a root file system's tar, or false for an image's archive.
func (a *Archive) Rootfs() (layers.Layer, bool) {
	if a.root == nil {
		return layers.Layer{}, false
	}
	return *a.root, true
}

// Close ends the archive; no layer of it can be read any more.
func (a *Archive) Close() error {
	var errs []error
	for _, c := range a.close {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func (a *Archive) has(name string) error {
	file, _, err := a.tree.open(name)
	if err != nil {
		return err
	}
	return file.Close()
}

// tree is a set of named files.
type tree interface {
	// open returns a file and its size; an error of kind fs.ErrNotExist when there is none.
	open(name string) (io.ReadCloser, int64, error)
}

// layout is a directory.
type layout struct{ root *os.Root }

func openLayout(path string) (*Archive, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, openError(path, err)
	}
	a := &Archive{name: path, tree: layout{root}, close: []io.Closer{root}}
	if err := a.has(fileLayout); err != nil {
		return nil, errors.Join(model.Errorf(model.ErrInvalid, "cannot import %s: it is a directory and no OCI layout; make a tar of it first: tar -C %s -cf root.tar .", path, path), a.Close())
	}
	return a, nil
}

func (l layout) open(name string) (io.ReadCloser, int64, error) {
	file, err := l.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}
