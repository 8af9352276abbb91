package rootedfs

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// PackOptions say how an archive is made.
type PackOptions struct {
	// Name is what the file or directory is called in the archive; "." for a directory's content.
	Name string
	// Portable writes files with holes as GNU tar does, for other programs.
	Portable bool
	// Warn hears of what was left out or changed meanwhile, Progress of each step; nil for nobody.
	Warn     func(line string)
	Progress func(Summary)
}

// maxUnsized is what is read of a file that says it is empty.
const maxUnsized = 64 << 10

// maxHardLinks is how many files with several names are remembered; further names become files of their own.
const maxHardLinks = 100_000

// Pack writes a file or a directory with all below it as a tar stream, and the archive's end. It reads regular files,
// directories and links; links are not followed, however they change meanwhile. What else there is it leaves out, and so
// it does with what vanishes or cannot be read, but for name itself.
func (r *Root) Pack(ctx context.Context, name string, w io.Writer, o PackOptions) (Summary, error) {
	name, err := Clean(name)
	if err != nil {
		return Summary{}, err
	}
	p := &packer{o: o, ctx: ctx, out: bufio.NewWriterSize(w, 64<<10), buf: make([]byte, bufferSize), seen: map[inode]string{}}
	p.tw = tar.NewWriter(p.out)
	s := spot{dir: int(r.dir.Fd()), base: ".", path: r.name}
	if name != "." {
		if s, err = r.at(name); err != nil {
			return p.sum, err
		}
		defer s.close()
		s.path = r.full(s.path)
	}
	info, err := s.lstat()
	if err != nil {
		return p.sum, err
	}
	if err := p.pack(s, info, cmp.Or(o.Name, path.Base(name)), 0); err != nil {
		return p.sum, err
	}
	return p.sum, cmp.Or(p.tw.Close(), p.out.Flush())
}

// packer is one Pack.
type packer struct {
	o    PackOptions
	ctx  context.Context
	out  *bufio.Writer
	tw   *tar.Writer
	buf  []byte
	sum  Summary
	seen map[inode]string // names of files that have several
}

type inode struct{ dev, number uint64 }

func (p *packer) warn(line string) {
	p.sum.Skipped++
	if p.o.Warn != nil {
		p.o.Warn(line)
	}
}

func (p *packer) report() {
	if p.o.Progress != nil {
		p.o.Progress(p.sum)
	}
}

// pack writes one thing, as name.
func (p *packer) pack(s spot, info Info, name string, depth int) error {
	if err := context.Cause(p.ctx); err != nil {
		return err
	}
	p.report()
	if len(name) > MaxPath || depth > MaxDepth-1 {
		p.warn("left out " + short(s.path) + ": its name is too long, or it lies too deep")
		return nil
	}
	switch info.Mode.Type() {
	case fs.ModeDir:
		return p.directory(s, name, depth)
	case 0:
		return p.file(s, name)
	case fs.ModeSymlink:
		target, err := s.readlink()
		if err != nil {
			return err
		}
		p.sum.Links++
		h := p.header(info, name, tar.TypeSymlink)
		h.Linkname = target
		return p.head(h)
	}
	what := "a device"
	if info.Mode&fs.ModeSocket != 0 {
		what = "a socket"
	} else if info.Mode&fs.ModeNamedPipe != 0 {
		what = "a FIFO"
	}
	if depth == 0 {
		return model.Errorf(model.ErrInvalid, "cannot copy %s: it is %s", short(s.path), what)
	}
	p.warn("left out " + short(s.path) + ": it is " + what)
	return nil
}

// header begins an entry. Parts of seconds need a header of their own, which would be much of a tree of small files:
// between our own two ends they travel where else a user's name stands.
func (p *packer) header(info Info, name string, kind byte) *tar.Header {
	h := &tar.Header{Typeflag: kind, Name: name, ModTime: info.ModTime, Uid: int(info.UID), Gid: int(info.GID), Mode: int64(bits(info.Mode))}
	switch ns := info.ModTime.Nanosecond(); {
	case ns == 0:
	case p.o.Portable:
		h.Format = tar.FormatPAX
	default:
		h.ModTime = info.ModTime.Truncate(time.Second)
		h.Uname = nanoseconds + strconv.Itoa(ns)
	}
	return h
}

// nanoseconds begins a user's name that is a part of a second.
const nanoseconds = "BGR.ns="

func (p *packer) head(h *tar.Header) error {
	if !p.o.Portable && h.PAXRecords == nil {
		h.Format = tar.FormatGNU // which costs archive/tar least to read
	}
	if err := p.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("cannot write the archive: %w", err)
	}
	return nil
}

func (p *packer) directory(s spot, name string, depth int) error {
	fd, err := retry(func() (int, error) {
		return unix.Openat(s.dir, s.base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return wrap("read", s.path, err)
	}
	dir := os.NewFile(uintptr(fd), s.path)
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return wrap("look at", s.path, err)
	}
	info := infoOf(&st)
	p.sum.Dirs++
	h := p.header(info, strings.TrimSuffix(name, "/")+"/", tar.TypeDir)
	h.PAXRecords = xattrsOf(fd)
	if err := p.head(h); err != nil {
		return err
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return wrap("read", s.path, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		base := e.Name()
		if IsTemp(base) {
			continue // another copy's, or what is left of one
		}
		in := spot{dir: fd, base: base, path: s.path + "/" + base}
		if s.path == "/" {
			in.path = "/" + base
		}
		if err := p.child(in, info, e.Type(), name+"/"+base, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// child is pack for what may vanish, change or be closed to us while the tree is read: that costs a warning.
func (p *packer) child(s spot, parent Info, kind fs.FileMode, name string, depth int) (err error) {
	before := p.sum
	info := Info{} // of a regular file, which is looked at when it is open
	if kind != 0 {
		info, err = s.lstat()
	}
	if err == nil && info.Mode.IsDir() && info.Dev != parent.Dev && pseudo(s) {
		p.warn("left out " + short(s.path) + ": it is no directory on a disk")
		return nil
	}
	if err == nil {
		err = p.pack(s, info, name, depth)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, model.ErrInvalid) {
		p.sum.Files, p.sum.Dirs, p.sum.Links = before.Files, before.Dirs, before.Links
		p.warn("left out: " + err.Error())
		return nil
	}
	return err
}

// pseudo says of a mount that it is the kernel's view of itself.
func pseudo(s spot) bool {
	fd, err := unix.Openat(s.dir, s.base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEVPTS_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC, unix.BINFMTFS_MAGIC:
		return true
	}
	return false
}

func (p *packer) file(s spot, name string) error {
	f, info, err := s.open()
	if err != nil {
		return err
	}
	defer f.Close()
	h := p.header(info, name, tar.TypeReg)
	if info.Links > 1 {
		id := inode{info.Dev, info.Inode}
		if first, ok := p.seen[id]; ok {
			p.sum.Files++
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return p.head(h)
		}
		if len(p.seen) < maxHardLinks {
			p.seen[id] = name
		}
	}
	h.PAXRecords = xattrsOf(f.fd)
	segments, err := holes(f, info)
	if err != nil {
		return err
	}
	p.sum.Files++
	if segments != nil {
		return p.sparse(f, h, segments, info.Size)
	}
	if info.Size == 0 {
		return p.unsized(f, h)
	}
	h.Size = info.Size
	if err := p.head(h); err != nil {
		return err
	}
	return p.body(p.tw, f, 0, info.Size)
}

// unsized writes a file that says it is empty: those of /proc are not.
func (p *packer) unsized(f rawFile, h *tar.Header) error {
	n, err := f.ReadAt(p.buf[:maxUnsized], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return wrap("read", f.name, err)
	}
	h.Size = int64(n)
	p.sum.Bytes += h.Size
	if err := p.head(h); err != nil {
		return err
	}
	_, err = p.tw.Write(p.buf[:n])
	return err
}

// body writes a stretch of a file. One that became shorter is filled up: its header has been sent.
func (p *packer) body(w io.Writer, f rawFile, offset, n int64) error {
	short := false
	for n > 0 {
		if err := context.Cause(p.ctx); err != nil {
			return err
		}
		part := p.buf[:min(n, int64(len(p.buf)))]
		if !short {
			read, err := f.ReadAt(part, offset)
			if err != nil && !errors.Is(err, io.EOF) {
				return &describedError{"read " + f.name, err}
			}
			if read < len(part) {
				short = true
				p.warn(f.name + " became shorter while it was read: the copy is filled up with zeros")
				clear(part[read:])
			}
		} else {
			clear(part)
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		offset += int64(len(part))
		n -= int64(len(part))
		p.sum.Bytes += int64(len(part))
		p.report()
	}
	return nil
}

// sparse writes the data of a file with holes.
func (p *packer) sparse(f rawFile, h *tar.Header, segments []segment, size int64) error {
	setMap(h, segments, size)
	w := io.Writer(p.tw)
	if !p.o.Portable {
		if err := p.head(h); err != nil {
			return err
		}
	} else {
		raw, err := gnuSparse(h)
		if err != nil {
			return err
		}
		if err := p.tw.Flush(); err != nil {
			return err
		}
		if _, err := p.out.Write(raw); err != nil {
			return err
		}
		w = p.out
	}
	for _, s := range segments {
		if err := p.body(w, f, s.offset, s.length); err != nil {
			return err
		}
	}
	if p.o.Portable {
		_, err := p.out.Write(make([]byte, -h.Size&511)) // up to the next block of 512
		return err
	}
	return nil
}

// gnuSparse is the header of an entry with a map under GNU tar's names, which archive/tar refuses to write. The records'
// lengths stay the same, no checksum covers them, and they are sorted: ours, in capitals, come first.
func gnuSparse(h *tar.Header) ([]byte, error) {
	var b bytes.Buffer
	h.Format = tar.FormatPAX
	if err := tar.NewWriter(&b).WriteHeader(h); err != nil {
		return nil, fmt.Errorf("cannot write the archive: %w", err)
	}
	raw := b.Bytes()
	for _, r := range [][2]string{{recordBlocks, gnuBlocks}, {recordSize, gnuSize}, {recordMap, gnuMap}} {
		raw = bytes.Replace(raw, []byte(r[0]), []byte(r[1]), 1)
	}
	return raw, nil
}

// xattrsOf are the attributes of users, as records of a header; nil for none.
func xattrsOf(fd int) map[string]string {
	n, err := unix.Flistxattr(fd, nil)
	if err != nil || n == 0 {
		return nil
	}
	buf := make([]byte, min(n, 64<<10))
	if n, err = unix.Flistxattr(fd, buf); err != nil {
		return nil
	}
	var records map[string]string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if !strings.HasPrefix(name, "user.") || strings.Contains(name, "=") || len(records) >= maxXattrs {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Fgetxattr(fd, name, value)
		if err != nil {
			continue
		}
		if records == nil {
			records = map[string]string{}
		}
		records[xattrRecord+name] = string(value[:n])
	}
	return records
}
