package firecracker

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/turns"
)

// stock is the directory of copies that VMMs in jails are given to read, each by a hard link: so a kernel and an initramfs
// are copied once, and not for each start. It is closed to the VMMs, and the copies are not theirs: through a link they can
// be read, and neither written to nor given away.
//
// A copy bears the name of one state of one file, and is whole from when it has that name. When it cannot be made or linked,
// as where a helper of an earlier version has made no directory, the start has a copy of its own.
type stock struct {
	dir string
	log *slog.Logger

	using turns.Of[string] // a copy, by its name: whoever makes, links or removes it
}

// stocked is how many copies are kept while no start needs them: those of two kernels. They are in the host's memory.
const stocked = 4

// put makes to a file with what is in from, which the VMM can read.
func (s *stock) put(ctx context.Context, from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	if err = s.link(ctx, source, to); err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !errors.Is(err, fs.ErrNotExist) { // there is no directory
		s.log.Warn("cannot keep a copy of what a VM in a jail is started from", "file", from, "error", err)
	}
	s.trim(0) // what is kept may take the room that this start needs
	if _, err := source.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return copyFile(source, to)
}

// link makes to a link to the copy of source, which it makes if there is none.
func (s *stock) link(ctx context.Context, source *os.File, to string) error {
	name, err := copyName(source)
	if err != nil {
		return err
	}
	done, err := s.using.Take(ctx, name)
	if err != nil {
		return err
	}
	defer done()
	path := filepath.Join(s.dir, name)
	crash.At("firecracker.stock.before")
	if err := os.Link(path, to); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeCopy(source, path); err != nil {
		return err
	}
	crash.At("firecracker.stock.copied")
	err = os.Link(path, to)
	crash.At("firecracker.stock.after")
	return err
}

// trim removes the copies that are not among the last used ones, as many as keep says, nor needed by a start; and what was
// left of those that were never finished.
func (s *stock) trim(keep int) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	var copies []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		switch name, whole := copyOf(e.Name()); {
		case err != nil || name == "" || !info.Mode().IsRegular(): // gone, or not the stock's
		case whole:
			copies = append(copies, info)
		default:
			s.drop(name, e.Name())
		}
	}
	slices.SortFunc(copies, func(a, b fs.FileInfo) int { return cmp.Compare(lastUse(b), lastUse(a)) })
	for _, info := range copies[min(keep, len(copies)):] {
		s.drop(info.Name(), info.Name())
	}
}

// drop removes a file of a copy's, unless a start needs it.
func (s *stock) drop(name, file string) {
	done, ok := s.using.Try(name)
	if !ok {
		return
	}
	defer done()
	path := filepath.Join(s.dir, file)
	if info, err := os.Lstat(path); err != nil || links(info) > 1 {
		return // nobody links it while it is this call's turn
	}
	crash.At("firecracker.drop.before")
	err := atomicfile.Remove(path)
	crash.At("firecracker.drop.after")
	if err != nil {
		s.log.Warn("cannot remove a copy of what a VM in a jail was started from", "file", path, "error", err)
	}
}
