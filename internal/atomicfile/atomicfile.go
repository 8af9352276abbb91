// Package atomicfile writes files that are whole, or absent, after a crash at any moment.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Write puts data at path with exactly perm, replacing what is there. When it returns nil the file and its name survive
// a power cut; when it fails, what was at path before still is.
func Write(path string, data []byte, perm fs.FileMode) error {
	return write(path, data, perm, (*File).Commit)
}

// WriteHint is Write for what means nothing after a power cut: then there may be what was before, or anything. It waits for
// no disk.
func WriteHint(path string, data []byte, perm fs.FileMode) error {
	return write(path, data, perm, (*File).rename)
}

func write(path string, data []byte, perm fs.FileMode, commit func(*File) error) error {
	f, err := Create(path, perm)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Abort())
	}
	return commit(f)
}

// File is a file being written aside: it takes its name with Commit and vanishes with Abort. Do not Close it.
type File struct {
	*os.File
	path string
	done bool
}

// Create opens a new file beside path, with exactly perm whatever the umask. The caller ends it with Commit or Abort.
func Create(path string, perm fs.FileMode) (*File, error) {
	dir, base := filepath.Split(path)
	f, err := os.CreateTemp(dirOf(dir), "."+base+".*.tmp")
	if err != nil {
		return nil, err
	}
	a := &File{File: f, path: path}
	if err := f.Chmod(perm); err != nil {
		return nil, errors.Join(err, a.Abort())
	}
	return a, nil
}

// Commit makes the content durable, gives the file its name and makes that durable. When it fails before the name is
// given, nothing is left behind.
func (f *File) Commit() error {
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Abort())
	}
	if err := f.rename(); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(f.path))
}

// rename gives the file its name, or leaves nothing behind.
func (f *File) rename() error {
	if err := os.Rename(f.Name(), f.path); err != nil {
		return errors.Join(err, f.Abort())
	}
	f.done = true
	return f.Close()
}

// Abort removes the file. After Commit, and a second time, it does nothing, so it can be deferred.
func (f *File) Abort() error {
	if f.done {
		return nil
	}
	f.done = true
	_ = f.Close()
	return Remove(f.Name())
}

// Remove deletes the file at path; that there is none is success.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// IsTemp says whether name (without a directory) is that of a file being written aside. After a crash such a file is
// rubbish.
func IsTemp(name string) bool { return target(name) != "" }

// target returns the name that a file written aside would have taken, or "".
func target(name string) string {
	rest, ok := strings.CutSuffix(name, ".tmp")
	if !ok || !strings.HasPrefix(rest, ".") {
		return ""
	}
	dot := strings.LastIndexByte(rest, '.')
	digits := rest[dot+1:]
	if dot < 2 || digits == "" || strings.Trim(digits, "0123456789") != "" {
		return ""
	}
	return rest[1:dot]
}

// Sweep removes what crashed writers left beside path: files written aside that would have taken its name. The caller
// knows that nobody is writing path. A missing directory is success.
func Sweep(path string) error {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(dirOf(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if target(e.Name()) == base {
			errs = append(errs, Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

func dirOf(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}
