// Package blobcache keeps blobs of registries by their digest.
//
// What has its name is whole: the size and the digest were checked on the bytes that were stored, here and nowhere else.
package blobcache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/image/claim"
	"banger/internal/model"
)

const partSuffix = ".part"

// Cache is a directory of blobs. Several processes may use it at once.
type Cache struct{ Dir string }

// Blob is what a manifest says of one.
type Blob struct {
	Digest model.Digest
	Size   int64
}

// Source is where missing blobs come from.
type Source struct {
	// Open gives the blob from an offset, or from its start; at says which.
	Open func(ctx context.Context, d model.Digest, offset int64) (body io.ReadCloser, at int64, err error)
	// Retry calls try until it succeeds or it makes no sense to go on.
	Retry func(ctx context.Context, try func() (progressed bool, err error)) error
}

// Get returns the path of a blob, which it fetches when it is missing. Of several that ask for one at once, one fetches it
// and the others wait; when that one gives up, the next does. progress is told how many bytes are there more, or, when the
// source begins anew, fewer. A failed or canceled Get leaves nothing.
func (c Cache) Get(ctx context.Context, b Blob, from Source, progress func(more int64)) (string, error) {
	if !b.Digest.Valid() || b.Size < 0 {
		return "", model.Errorf(model.ErrUnsupported, "a layer is known by %.80q, which is no SHA-256", b.Digest)
	}
	path := filepath.Join(c.Dir, b.Digest.Hex())
	if c.has(path, b) {
		progress(b.Size)
		return path, nil
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return "", err
	}
	part, err := claim.Take(ctx, path+partSuffix)
	if err != nil {
		return "", err
	}
	defer part.Drop() //nolint:errcheck // what it could not remove is swept
	if c.has(path, b) {
		progress(b.Size)
		return path, nil
	}
	w := &writer{file: part, blob: b, sum: sha256.New(), progress: progress}
	if err := from.Retry(ctx, func() (bool, error) { return w.fetch(ctx, from) }); err != nil {
		progress(-w.at)
		return "", err
	}
	if got := model.Digest(fmt.Sprintf("sha256:%x", w.sum.Sum(nil))); got != b.Digest {
		return "", model.Errorf(model.ErrCorrupt, "the layer %s came with the digest %s; nothing of it was kept", b.Digest.Short(), got.Short())
	}
	crash.At("image.layer.before-rename")
	if err := part.Become(path); err != nil {
		return "", err
	}
	crash.At("image.layer.after-rename")
	return path, atomicfile.SyncDir(c.Dir)
}

// has trusts a file of the right size: it got its name after its digest was checked.
func (c Cache) has(path string, b Blob) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == b.Size
}

// writer stores a blob as it comes, piece by piece over several connections.
type writer struct {
	file     *claim.Claim
	blob     Blob
	at       int64
	most     int64 // that at ever was
	sum      hash.Hash
	progress func(more int64)
}

// fetch goes on where the last connection broke off.
func (w *writer) fetch(ctx context.Context, from Source) (progressed bool, err error) {
	if w.at == w.blob.Size && w.at > 0 {
		return true, nil
	}
	body, at, err := from.Open(ctx, w.blob.Digest, w.at)
	if err != nil {
		return false, err
	}
	defer body.Close()
	if at != w.at {
		if err := w.restart(); err != nil {
			return false, err
		}
	}
	// A source that always begins anew and always breaks off at the same place gets nowhere.
	defer func() {
		progressed = progressed || w.at > w.most
		w.most = max(w.most, w.at)
	}()
	buf := make([]byte, 256<<10)
	for {
		n, err := body.Read(buf)
		if w.at+int64(n) > w.blob.Size {
			return false, model.Errorf(model.ErrCorrupt, "the layer %s has more than the %d bytes that its manifest tells; nothing of it was kept", w.blob.Digest.Short(), w.blob.Size)
		}
		if werr := w.write(buf[:n]); werr != nil {
			return false, werr
		}
		switch {
		case errors.Is(err, io.EOF) && w.at < w.blob.Size:
			return false, fmt.Errorf("the layer ended early: %w", io.ErrUnexpectedEOF)
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return false, err
		}
	}
}

func (w *writer) write(p []byte) error {
	if _, err := w.file.Write(p); err != nil {
		return err
	}
	w.at += int64(len(p))
	if _, err := w.sum.Write(p); err != nil {
		return err
	}
	w.progress(int64(len(p)))
	return nil
}

func (w *writer) restart() error {
	w.progress(-w.at)
	w.at = 0
	w.sum.Reset()
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return w.file.Truncate(0)
}

// Usage returns how many blobs there are, and what they take.
func (c Cache) Usage() (blobs int, bytes int64, err error) {
	err = c.each(func(path string, size int64) error {
		blobs, bytes = blobs+1, bytes+size
		return nil
	})
	return blobs, bytes, err
}

// Clear removes all blobs. The caller knows that nobody reads them.
func (c Cache) Clear() error {
	return errors.Join(c.Sweep(), c.each(func(path string, _ int64) error { return atomicfile.Remove(path) }))
}

// Sweep removes what killed fetches left. The caller knows that nobody fetches.
func (c Cache) Sweep() error {
	return c.files(func(name string) bool { return strings.HasSuffix(name, partSuffix) },
		func(path string, _ int64) error { return atomicfile.Remove(path) })
}

func (c Cache) each(visit func(path string, size int64) error) error {
	return c.files(func(name string) bool { return model.Digest("sha256:" + name).Valid() }, visit)
}

func (c Cache) files(ours func(name string) bool, visit func(path string, size int64) error) error {
	entries, err := os.ReadDir(c.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		info, ierr := e.Info()
		if ierr == nil && info.Mode().IsRegular() && ours(e.Name()) {
			err = errors.Join(err, visit(filepath.Join(c.Dir, e.Name()), info.Size()))
		}
	}
	return err
}
