package rootedfs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// Info is what a file is, without following it should it be a link.
type Info struct {
	Mode    fs.FileMode // with its type
	Size    int64
	ModTime time.Time
	UID     uint32
	GID     uint32
	Links   uint64
	Dev     uint64
	Inode   uint64
	Blocks  int64 // of 512 bytes, taken on disk
}

// special are the mode bits beside the permissions.
var special = [...]struct {
	bit  uint32
	mode fs.FileMode
}{{unix.S_ISUID, fs.ModeSetuid}, {unix.S_ISGID, fs.ModeSetgid}, {unix.S_ISVTX, fs.ModeSticky}}

func infoOf(st *unix.Stat_t) Info {
	i := Info{
		Mode: fs.FileMode(st.Mode & 0o777), Size: st.Size, ModTime: time.Unix(st.Mtim.Unix()), UID: st.Uid, GID: st.Gid,
		Links: st.Nlink, Dev: st.Dev, Inode: st.Ino, Blocks: st.Blocks,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		i.Mode |= fs.ModeDir
	case unix.S_IFLNK:
		i.Mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		i.Mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		i.Mode |= fs.ModeSocket
	case unix.S_IFCHR:
		i.Mode |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		i.Mode |= fs.ModeDevice
	}
	for _, b := range special {
		if st.Mode&b.bit != 0 {
			i.Mode |= b.mode
		}
	}
	return i
}

// Lstat says what a name is.
func (r *Root) Lstat(name string) (Info, error) {
	if clean, err := Clean(name); err == nil && clean == "." {
		var st unix.Stat_t
		err := unix.Fstat(int(r.dir.Fd()), &st)
		return infoOf(&st), wrap("look at", r.name, err)
	}
	s, err := r.at(name)
	if err != nil {
		return Info{}, err
	}
	defer s.close()
	return s.lstat()
}

func (s spot) lstat() (Info, error) {
	var st unix.Stat_t
	_, err := retry(func() (struct{}, error) {
		return struct{}{}, unix.Fstatat(s.dir, s.base, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return infoOf(&st), wrap("look at", s.path, err)
}

// Readlink returns what a symbolic link says.
func (r *Root) Readlink(name string) (string, error) {
	s, err := r.at(name)
	if err != nil {
		return "", err
	}
	defer s.close()
	return s.readlink()
}

func (s spot) readlink() (string, error) {
	buf := make([]byte, MaxPath+1)
	n, err := retry(func() (int, error) { return unix.Readlinkat(s.dir, s.base, buf) })
	if err != nil {
		return "", wrap("read the link", s.path, err)
	}
	return string(buf[:n]), nil
}

// ReadDir lists a directory, sorted by name.
func (r *Root) ReadDir(name string) ([]fs.DirEntry, error) {
	name, err := Clean(name)
	if err != nil {
		return nil, err
	}
	fd, err := r.openDir(name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	// A descriptor that only stands for a place cannot be read.
	return readDir(fd, name)
}

// Names finds names in the root's own directory that begin with prefix, at most so many, among the first that the
// directory holds.
func (r *Root) Names(ctx context.Context, prefix string, most, scanned int) ([]fs.DirEntry, error) {
	dir, err := r.std.Open(".")
	if err != nil {
		return nil, wrap("read", r.name, err)
	}
	defer dir.Close()
	var found []fs.DirEntry
	for left := scanned; left > 0 && ctx.Err() == nil; {
		entries, err := dir.ReadDir(min(left, 512))
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), prefix) {
				continue
			}
			if found = append(found, e); len(found) == most {
				return found, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, wrap("read", r.name, err)
		}
		left -= len(entries)
	}
	return found, ctx.Err()
}

func readDir(at int, name string) ([]fs.DirEntry, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(at, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, wrap("read", name, err)
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	return entries, wrap("read", name, err)
}

// Open opens a regular file for reading. Anything else is an ErrInvalid: opening a FIFO waits, opening a device acts.
func (r *Root) Open(name string) (*os.File, error) {
	s, err := r.at(name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	f, _, err := s.open()
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(f.fd), s.path), nil
}

func (s spot) open() (rawFile, Info, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(s.dir, s.base, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return rawFile{}, Info{}, wrap("open", s.path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd)
		if err != nil {
			return rawFile{}, Info{}, wrap("look at", s.path, err)
		}
		return rawFile{}, Info{}, model.Errorf(model.ErrInvalid, "cannot open %s: it is no regular file", short(s.path))
	}
	return rawFile{fd, s.path}, infoOf(&st), nil
}

// rawFile is an open regular file without what os.File adds: a tree of small files is all opening and closing.
type rawFile struct {
	fd   int
	name string
}

func (f rawFile) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := retry(func() (int, error) { return unix.Write(f.fd, b[done:]) })
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// ReadAt fills b as far as the file goes.
func (f rawFile) ReadAt(b []byte, offset int64) (int, error) {
	done := 0
	for done < len(b) {
		n, err := retry(func() (int, error) { return unix.Pread(f.fd, b[done:], offset+int64(done)) })
		if err != nil {
			return done, err
		}
		if n == 0 {
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

func (f rawFile) Seek(offset int64, whence int) (int64, error) {
	return unix.Seek(f.fd, offset, whence)
}

func (f rawFile) Close() error { return unix.Close(f.fd) }

// StatMode is a mode as stat(2) gives it.
func StatMode(mode fs.FileMode) uint32 {
	kinds := map[fs.FileMode]uint32{
		0: unix.S_IFREG, fs.ModeDir: unix.S_IFDIR, fs.ModeSymlink: unix.S_IFLNK, fs.ModeNamedPipe: unix.S_IFIFO,
		fs.ModeSocket: unix.S_IFSOCK, fs.ModeDevice: unix.S_IFBLK, fs.ModeDevice | fs.ModeCharDevice: unix.S_IFCHR,
	}
	return bits(mode) | kinds[mode.Type()]
}

// FileMode is what stat(2) gives as a mode.
func FileMode(mode uint32) fs.FileMode { return infoOf(&unix.Stat_t{Mode: mode}).Mode }
