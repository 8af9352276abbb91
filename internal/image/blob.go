package image

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/model"
)

const (
	tempPrefix = ".tmp-"
	// pendingFile marks a blob whose row is about to be written or removed: should that be cut short, the row decides
	// what becomes of the blob. It names the installation whose row that is, and no other one settles it: several may be
	// over one data directory. A blob without the mark is never removed but by a delete.
	pendingFile = "pending"
)

// draft is a blob being made: a directory beside its place-to-be, under the shared builds lock.
type draft struct {
	dir  string
	kind string
	lock *os.File
}

func (s *Service) newDraft(ctx context.Context, kind string) (*draft, error) {
	lock, err := s.lock(ctx, s.locksDir(), buildsLock, unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	parent := filepath.Join(s.dirs.Data, kind)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	crash.At("image.draft.before")
	dir, err := os.MkdirTemp(parent, tempPrefix)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	crash.At("image.draft.after")
	return &draft{dir: dir, kind: kind, lock: lock}, nil
}

// close removes what is left of the draft. After publish that is what it replaced, or nothing.
func (d *draft) close() error {
	crash.At("image.draft.before-removal")
	err := os.RemoveAll(d.dir)
	crash.At("image.draft.removed")
	return errors.Join(err, d.lock.Close())
}

// publish makes the draft the blob m.digest(), whole and durable, and has insert write its row. A blob of the same digest
// is replaced: it says that it is the same, which a corrupt one does wrongly. insert may find the row there.
func (s *Service) publish(d *draft, m manifest, insert func() error) error {
	if err := s.seal(d.dir, m); err != nil {
		return err
	}
	target := s.blobDir(d.kind, m.digest())
	crash.At("image.publish.before-rename")
	if err := place(d.dir, target); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(filepath.Dir(target)); err != nil {
		return err
	}
	crash.At("image.publish.before-row")
	if err := insert(); err != nil {
		return errors.Join(err, s.settleByRow(d.kind, m.digest()))
	}
	crash.At("image.publish.after-row")
	if now, err := s.lookAt(d.kind, m.digest()); err == nil { // the digests were made of what has just been written
		s.remember(d.kind, m.digest(), now)
	}
	crash.At("image.publish.verified")
	return s.settle(d.kind, m.digest(), true)
}

// seal writes the manifest and the pending mark, takes the write permission from every file and makes all durable.
func (s *Service) seal(dir string, m manifest) error {
	data, err := m.encode()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, manifestFile), data, 0o600); err != nil {
		return err
	}
	if err := s.mark(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := syncFile(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return atomicfile.SyncDir(dir)
}

// mark makes a blob's row ours to write or remove.
func (s *Service) mark(dir string) error {
	path := filepath.Join(dir, pendingFile)
	return errors.Join(atomicfile.Remove(path), os.WriteFile(path, []byte(s.owner), 0o600))
}

// marked says whether a blob's row is about to be written or removed, and by whom.
func marked(dir string) (owner string, pending bool) {
	data, err := os.ReadFile(filepath.Join(dir, pendingFile))
	return string(data), !errors.Is(err, fs.ErrNotExist)
}

func syncFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Chmod(0o400), file.Sync(), file.Close())
}

// place moves the draft to its target, or swaps it with what is there: then the draft's directory holds the old blob.
func place(dir, target string) error {
	err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, target, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		err = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, target, unix.RENAME_EXCHANGE)
	}
	return err
}

// settle ends the pending of a blob by what its row says: with one the mark goes, without one the blob.
func (s *Service) settle(kind string, d model.Digest, hasRow bool) error {
	dir := s.blobDir(kind, d)
	if hasRow {
		if err := atomicfile.Remove(filepath.Join(dir, pendingFile)); err != nil {
			return err
		}
		crash.At("image.settle.after")
		return ignoreMissing(atomicfile.SyncDir(dir))
	}
	_ = os.Remove(s.comparedFile(kind, d)) // a sweep finds it too
	return s.discard(kind, dir)
}

// settleByRow settles after a row that could not be written or removed, as far as the caller was told: one of the same
// digest may be there, from before or all the same, and VMs may use it. Where that cannot be told, the mark stays for the
// next sweep.
func (s *Service) settleByRow(kind string, d model.Digest) error {
	rows, err := s.rows(context.Background(), kind) // also after a cancel
	if err != nil {
		return err
	}
	_, hasRow := rows[d]
	return s.settle(kind, d, hasRow)
}

// discard removes a blob so that no half of it is ever seen under its name.
func (s *Service) discard(kind, dir string) error {
	trash := filepath.Join(s.dirs.Data, kind, tempPrefix+rand.Text())
	crash.At("image.discard.before")
	err := ignoreMissing(os.Rename(dir, trash))
	crash.At("image.discard.renamed")
	err = errors.Join(err, os.RemoveAll(trash))
	crash.At("image.discard.after")
	return err
}

// remove takes a blob away together with its row, which deleteRow removes.
func (s *Service) remove(ctx context.Context, kind string, d model.Digest, deleteRow func() error) error {
	lock, err := s.lock(ctx, s.locksDir(), buildsLock, unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer lock.Close()
	dir := s.blobDir(kind, d)
	crash.At("image.delete.before-mark")
	// A full disk or a missing blob must not stop a delete: without the mark a crash here only leaves the files.
	if err := s.mark(dir); err == nil {
		_ = atomicfile.SyncDir(dir)
	}
	crash.At("image.delete.before-row")
	if err := deleteRow(); err != nil {
		return errors.Join(err, s.settleByRow(kind, d))
	}
	crash.At("image.delete.after-row")
	return s.settle(kind, d, false)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
