package rootedfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// ExtractOptions say what an archive may do. The zero value takes ordinary modes and the owner that we are.
type ExtractOptions struct {
	// Name is the one component that every entry must be or lie below; "" allows any. When nothing of that name is there,
	// everything is written aside and takes the name at the end: it is there whole or not at all.
	Name string
	// Owner owns what is made; nil for whoever runs us. KeepOwner takes the archive's instead.
	Owner     *Owner
	KeepOwner bool
	// Special keeps setuid, setgid and sticky bits.
	Special bool
	// Caps; 0 for the defaults below.
	MaxBytes   int64
	MaxEntries int
	// Sync makes what was written durable. It is called before files take their names, and before Extract returns. nil
	// for no need of it.
	Sync func() error
	// Warn hears of what was left out, Progress of each step; nil for nobody.
	Warn     func(line string)
	Progress func(Summary)
}

// Owner is who files belong to.
type Owner struct{ UID, GID int }

// Summary is what an extraction or a packing did.
type Summary = model.FileSummary

// ErrTooLarge is the cause of the error about an archive with more bytes than MaxBytes.
var ErrTooLarge = errors.New("larger than allowed")

// What an archive may be without being told otherwise.
const (
	DefaultMaxEntries = 2_000_000
	maxFile           = 8 << 40  // what a file with holes may seem to be
	maxDirBytes       = 64 << 20 // of what is remembered of directories until the end
	maxXattrs         = 64       // of one file
	maxTrailer        = 1 << 20  // behind an archive's end
	bufferSize        = 256 << 10
)

// Extract writes what a tar stream holds below the root. No entry leads out of it or through a symbolic link; devices and
// FIFOs are left out. A file replaces what has its name, but for directories, and a directory replaces nothing: one that
// is there is used as it is. After an error the files that were complete are there, others are not.
func (r *Root) Extract(ctx context.Context, archive io.Reader, o ExtractOptions) (Summary, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = model.DefaultMaxCopy
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	x := &extraction{
		root: r, o: o, ctx: ctx, tr: tar.NewReader(archive), buf: make([]byte, bufferSize),
		dirs: map[string]*tar.Header{}, plain: map[fs.FileMode]unix.Stat_t{},
	}
	if err := x.begin(); err != nil {
		return x.sum, err
	}
	err := x.all()
	if err == nil {
		err = drain(archive)
	}
	fresh := x.stage != ""
	err = errors.Join(err, x.end(err == nil))
	return x.sum, remains(err, fresh, r.full(o.Name))
}

// remains says after an error what is there now.
func remains(err error, fresh bool, name string) error {
	what := "what was copied before is complete"
	if fresh {
		what = "nothing of " + short(name) + " is left"
	}
	switch kind := model.KindOf(err); {
	case err == nil:
		return nil
	case kind == nil:
		return fmt.Errorf("%w; %s", err, what)
	default:
		return model.Errorf(kind, "%w; %s", err, what)
	}
}

// extraction is one Extract.
type extraction struct {
	root *Root
	o    ExtractOptions
	ctx  context.Context
	tr   *tar.Reader
	buf  []byte
	sum  Summary

	stage    string                 // where Name is written aside; "" when it was there before
	dirs     map[string]*tar.Header // directories made, to be finished at the end; nil for one that is only implied
	dirBytes int
	plain    map[fs.FileMode]unix.Stat_t // what a file below the stage has, by the mode that it was made with
	waiting  []waiting                   // what is complete and waits for Sync to take its name
	unsynced int64
	warned   map[string]bool
	last     spot // the last one in the stage; its directory is open
}

// waiting is a file in its directory under a passing name.
type waiting struct{ name, aside string }

// What is written at most before it is synced and named.
const (
	maxWaiting  = 1024
	maxUnsynced = 256 << 20
)

func (x *extraction) begin() error {
	if x.o.Name == "" {
		return nil
	}
	if clean, err := Clean(x.o.Name); err != nil || clean != x.o.Name || strings.Contains(clean, "/") || clean == "." {
		return model.Errorf(model.ErrInvalid, "%q cannot be the name of a file", short(x.o.Name))
	}
	_, err := x.root.Lstat(x.o.Name)
	if errors.Is(err, fs.ErrNotExist) {
		x.stage = spot{path: x.o.Name}.aside().base
		return nil
	}
	return err
}

func (x *extraction) all() error {
	for {
		if err := context.Cause(x.ctx); err != nil {
			return err
		}
		h, err := x.tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return readError(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if x.sum.Entries() >= x.o.MaxEntries {
			return model.Errorf(model.ErrInvalid, "cannot go on: the archive has more than %d entries", x.o.MaxEntries)
		}
		if err := x.entry(h); err != nil {
			return err
		}
		x.report()
	}
}

// drain reads what follows the end of an archive, which programs fill up with zeros, and hears how the stream ended.
func drain(archive io.Reader) error {
	n, err := io.CopyN(io.Discard, archive, maxTrailer)
	if n == maxTrailer {
		return model.Errorf(model.ErrInvalid, "cannot read the archive: it goes on after its end")
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return readError(err)
}

func (x *extraction) report() {
	if x.o.Progress != nil {
		x.o.Progress(x.sum)
	}
}

// readError tells an archive that is none from a stream that broke, whose error says all.
func readError(err error) error {
	switch {
	case model.KindOf(err) != nil:
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return model.Errorf(model.ErrCorrupt, "cannot read the archive: it ends in the middle: %w", err)
	case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong), errors.Is(err, tar.ErrInsecurePath):
		return model.Errorf(model.ErrInvalid, "cannot read the archive: %w", err)
	}
	return &describedError{"read the archive", err}
}

// entry writes one entry.
func (x *extraction) entry(h *tar.Header) error {
	name, err := x.place(h.Name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return x.directory(name, h)
	case tar.TypeReg, '\x00', tar.TypeCont, tar.TypeGNUSparse:
		return x.file(name, h)
	case tar.TypeSymlink:
		return x.symlink(name, h)
	case tar.TypeLink:
		return x.hardLink(name, h)
	}
	x.skip(h.Name, kindName(h.Typeflag))
	return nil
}

func kindName(flag byte) string {
	switch flag {
	case tar.TypeChar, tar.TypeBlock:
		return "a device"
	case tar.TypeFifo:
		return "a FIFO"
	}
	return "of no known kind"
}

func (x *extraction) skip(name, what string) {
	x.sum.Skipped++
	x.warn("left out " + short(name) + ": it is " + what)
}

func (x *extraction) warn(line string) {
	if x.o.Warn != nil {
		x.o.Warn(line)
	}
}

// place is where an entry of the archive goes.
func (x *extraction) place(name string) (string, error) {
	clean, err := Clean(name)
	if err != nil {
		return "", model.Errorf(model.ErrInvalid, "cannot take the archive's entry %w", err)
	}
	if x.o.Name == "" {
		return clean, nil
	}
	first, rest, below := strings.Cut(clean, "/")
	if first != x.o.Name {
		return "", model.Errorf(model.ErrInvalid, "cannot take the archive's entry %q: only %q was asked for", short(name), short(x.o.Name))
	}
	if x.stage != "" {
		first = x.stage
	}
	if below {
		return first + "/" + rest, nil
	}
	return first, nil
}

// at finds where an entry goes.
func (x *extraction) at(name string) (spot, error) {
	if x.stage != "" {
		return x.staged(name)
	}
	return x.made(name)
}

// staged is made, with the directory of the last name kept open: what is aside is ours alone.
func (x *extraction) staged(name string) (spot, error) {
	dir, base := path.Split(name)
	if x.last.ours && path.Dir(x.last.path)+"/" == dir {
		return spot{dir: x.last.dir, base: base, path: name}, nil
	}
	s, err := x.made(name)
	if err != nil || !s.ours {
		return s, err
	}
	x.last.close()
	x.last = s
	s.ours = false
	return s, nil
}

// made is the root's at, with the directories made that the archive only implies.
func (x *extraction) made(name string) (spot, error) {
	s, err := x.root.at(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	for i, c := range name {
		if c != '/' {
			continue
		}
		fresh, err := x.root.mkdir(name[:i], 0o700)
		if err == nil && fresh {
			err = x.remember(name[:i], nil)
		}
		if err != nil {
			return spot{}, err
		}
	}
	return x.root.at(name)
}

// remember has a directory that was made finished at the end.
func (x *extraction) remember(name string, h *tar.Header) error {
	size := len(name) + 256
	if h != nil {
		for key, value := range h.PAXRecords {
			size += len(key) + len(value)
		}
	}
	if x.dirBytes += size; x.dirBytes > maxDirBytes {
		return model.Errorf(model.ErrInvalid, "cannot go on: the archive has too many directories to remember")
	}
	x.dirs[name] = h
	return nil
}

func (x *extraction) directory(name string, h *tar.Header) error {
	x.sum.Dirs++
	if name == "." {
		return nil
	}
	s, err := x.at(name) // makes what is missing above
	if err != nil {
		return err
	}
	s.close()
	fresh, err := x.root.mkdir(name, 0o700)
	if err != nil {
		return err
	}
	if _, made := x.dirs[name]; fresh || made {
		return x.remember(name, h)
	}
	return nil
}

// end gives what was made its last touch, and removes what is not complete.
func (x *extraction) end(complete bool) error {
	x.last.close()
	err := x.settle(complete)
	if x.stage == "" {
		err = errors.Join(err, x.finishDirs())
		if complete && err == nil {
			err = x.sync()
		}
		return err
	}
	if complete && err == nil {
		err = x.publish()
		if err == nil {
			return nil
		}
	}
	return errors.Join(err, x.removeStage())
}

// publish gives what is complete aside its name.
func (x *extraction) publish() error {
	if x.sum.Entries() == x.sum.Skipped {
		return model.Errorf(model.ErrNotFound, "cannot make %s: there is nothing in the archive that can be copied", short(x.root.full(x.o.Name)))
	}
	if err := x.finishDirs(); err != nil {
		return err
	}
	if err := x.sync(); err != nil {
		return err
	}
	if err := x.root.renameNew(x.stage, x.o.Name); err != nil {
		return err
	}
	x.stage = ""
	return x.sync()
}

func (x *extraction) removeStage() error {
	if x.stage == "" {
		return nil
	}
	for _, name := range slices.Backward(x.deepestFirst()) {
		_ = x.root.std.Chmod(name, 0o700) // where it is not ours to read any more the removal fails, and says so
	}
	return x.root.RemoveAll(x.stage)
}

func (x *extraction) sync() error {
	if x.o.Sync == nil {
		return nil
	}
	return wrap("write to", x.root.name, x.o.Sync())
}

// renameNew gives what is aside a name that nothing has.
func (r *Root) renameNew(aside, name string) error {
	fd := int(r.dir.Fd())
	err := unix.Renameat2(fd, aside, fd, name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		err = unix.Renameat(fd, aside, fd, name) // a file system without that flag
	}
	return wrap("make", r.full(name), err)
}
