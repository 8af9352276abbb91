package rootedfs

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// file writes a regular file aside and gives it its name when it is complete. Below a stage nothing has its final name
// yet, and the first file of a name takes that at once, in a directory with its mode: nobody else gets into one.
func (x *extraction) file(name string, h *tar.Header) error {
	x.sum.Files++
	s, err := x.at(name)
	if err != nil {
		return err
	}
	defer s.close()
	if x.stage != "" {
		mode := private
		if name != x.stage {
			mode = h.FileInfo().Mode()
		}
		f, err := s.create(mode)
		if err == nil {
			return x.fill(f, mode, s, h)
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := x.replaceable(s); err != nil {
		return err
	}
	aside := s.aside()
	f, err := aside.create(private)
	if err != nil {
		return err
	}
	if err := x.fill(f, private, aside, h); err != nil {
		return err
	}
	return x.name(aside, s)
}

// replaceable refuses to put a file where a directory is.
func (x *extraction) replaceable(s spot) error {
	info, err := s.lstat()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode.IsDir() {
		return model.Errorf(model.ErrInvalid, "cannot replace %s: it is a directory, and the copy is not", short(x.root.full(s.path)))
	}
	return err
}

// name gives a complete file its name, now or after the next sync.
func (x *extraction) name(aside, s spot) error {
	if x.o.Sync == nil || x.stage != "" {
		if err := aside.rename(s); err != nil {
			return errors.Join(err, aside.unlink())
		}
		return nil
	}
	x.waiting = append(x.waiting, waiting{s.path, aside.base})
	if len(x.waiting) < maxWaiting && x.unsynced < maxUnsynced {
		return nil
	}
	return x.settle(true)
}

// settle syncs what waits and gives it its names, or removes it.
func (x *extraction) settle(keep bool) error {
	list := x.waiting
	x.waiting, x.unsynced = nil, 0
	if len(list) == 0 {
		return nil
	}
	var errs []error
	if keep {
		if err := x.sync(); err != nil {
			keep, errs = false, append(errs, err)
		}
	}
	for _, w := range list {
		s, err := x.root.at(w.name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		aside := s
		aside.base, aside.ours = w.aside, false
		if keep {
			err = aside.rename(s)
		}
		if !keep || err != nil {
			err = errors.Join(err, aside.unlink())
		}
		s.close()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// fill writes content, owner, mode and times, and closes f, which was made with a mode. When it fails the file is gone.
func (x *extraction) fill(f rawFile, mode fs.FileMode, at spot, h *tar.Header) error {
	has, err := x.asMade(f, mode)
	if err == nil {
		err = x.content(f, h)
	}
	if err == nil {
		err = x.dress(f.fd, has, x.root.full(at.path), h)
	}
	err = errors.Join(err, wrap("write", x.root.full(at.path), f.Close()))
	if err != nil {
		return errors.Join(err, at.unlink())
	}
	return nil
}

func (x *extraction) content(f rawFile, h *tar.Header) error {
	segments, size, err := mapOf(h)
	if err != nil {
		return err
	}
	if segments == nil {
		if err := x.allow(h.Size, h.Name); err != nil {
			return err
		}
		return x.copy(f, h.Name, h.Size, isSparse(h))
	}
	for _, s := range segments {
		if err := x.allow(s.length, h.Name); err != nil {
			return err
		}
		if _, err := f.Seek(s.offset, io.SeekStart); err != nil {
			return wrap("write", x.root.full(h.Name), err)
		}
		if err := x.copy(f, h.Name, s.length, false); err != nil {
			return err
		}
	}
	return wrap("write", x.root.full(h.Name), unix.Ftruncate(f.fd, size))
}

// allow keeps the cap before a byte is written.
func (x *extraction) allow(n int64, name string) error {
	if n > x.o.MaxBytes-x.sum.Bytes {
		return model.Errorf(model.ErrInvalid, "cannot copy %q: with it the copy is %w, %s", short(name), ErrTooLarge, model.FormatSize(x.o.MaxBytes))
	}
	return nil
}

// copy writes the next n bytes of the entry, zeros as holes when asked.
func (x *extraction) copy(f rawFile, name string, n int64, holes bool) error {
	for n > 0 {
		if err := context.Cause(x.ctx); err != nil {
			return err
		}
		part := x.buf[:min(n, int64(len(x.buf)))]
		read, err := io.ReadFull(x.tr, part)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return readError(err)
		}
		n -= int64(read)
		if err := write(f, part, holes); err != nil {
			return wrap("write", x.root.full(name), err)
		}
		x.sum.Bytes += int64(read)
		x.unsynced += int64(read)
		x.report()
	}
	if !holes {
		return nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err == nil {
		err = unix.Ftruncate(f.fd, at)
	}
	return wrap("write", x.root.full(name), err)
}

// write is f's, but for blocks of zeros where holes are wanted.
func write(f rawFile, b []byte, holes bool) error {
	const block = 4096
	for len(b) > 0 {
		n := len(b)
		if holes {
			n = min(block, n)
			if !slices.ContainsFunc(b[:n], func(c byte) bool { return c != 0 }) {
				if _, err := f.Seek(int64(n), io.SeekCurrent); err != nil {
					return err
				}
				b = b[n:]
				continue
			}
		}
		if _, err := f.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (x *extraction) symlink(name string, h *tar.Header) error {
	x.sum.Links++
	s, err := x.at(name)
	if err != nil {
		return err
	}
	defer s.close()
	if err := x.replaceable(s); err != nil {
		return err
	}
	aside := s.aside()
	if err := aside.symlink(h.Linkname); err != nil {
		return err
	}
	if o := x.owner(h); o != nil {
		err = unix.Fchownat(aside.dir, aside.base, o.UID, o.GID, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil {
		_ = unix.UtimesNanoAt(aside.dir, aside.base, timesOf(h), unix.AT_SYMLINK_NOFOLLOW) // not every file system has them
	} else {
		return errors.Join(wrap("own", name, err), aside.unlink())
	}
	return x.name(aside, s)
}

// hardLink gives a file of the archive another name. A link itself is never the target: the kernel would make a second
// link, which later entries might be led through.
func (x *extraction) hardLink(name string, h *tar.Header) error {
	x.sum.Files++
	if err := x.settle(true); err != nil {
		return err
	}
	target, err := x.place(h.Linkname)
	if err != nil {
		return err
	}
	from, err := x.root.at(target)
	if err != nil {
		return err
	}
	defer from.close()
	s, err := x.at(name)
	if err != nil {
		return err
	}
	defer s.close()
	if err := x.replaceable(s); err != nil {
		return err
	}
	aside := s.aside()
	_, err = retry(func() (struct{}, error) {
		return struct{}{}, unix.Linkat(from.dir, from.base, aside.dir, aside.base, 0)
	})
	if err != nil {
		return wrap("make the hard link", path.Join(x.root.name, s.path), err)
	}
	info, err := aside.lstat()
	if err == nil && !info.Mode.IsRegular() {
		err = model.Errorf(model.ErrInvalid, "cannot make the hard link %s: %q is no regular file", short(h.Name), short(h.Linkname))
	}
	if err == nil {
		err = aside.rename(s)
	}
	return errors.Join(err, aside.unlink()) // rename(2) does nothing when both names are one file already
}
