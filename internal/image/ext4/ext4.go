// Package ext4 turns a tar stream into an ext4 file that a guest can mount, without mounting or unpacking it on the host.
//
// The e2fsprogs that it runs parse only what was written here a moment ago, never a file system that a guest or a
// stranger made.
package ext4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/hosttool"
	"banger/internal/image/ahead"
	"banger/internal/image/sparse"
	"banger/internal/model"
)

// epoch stands for every time that e2fsprogs would take from the clock, so that the same tar makes the same image.
const epoch = "1700000000"

// journalMiB is small on purpose: the journal is a ring, and a VM's own layer grows by the whole of it.
const journalMiB = "32"

// maxWriter is the most that the writer may make; it reserves metadata for that size.
const maxWriter = 64 << 30

// ballastSize is memory that is never touched, and so never there, but counts when the garbage collector decides when to
// run. The writer takes another 32 KiB to copy each file with: beside a small heap that would be a run for each few hundred.
const ballastSize = 64 << 20

// Written is a file system as the writer leaves it: it still needs Finish or Seal.
type Written struct {
	// UUID is the file system's. The same tar gives the same one, and so the same file. Two tars may share one: their files
	// differ all the same.
	UUID string
	sums *sparse.Sums
}

// Write converts a tar stream, as package tarfilter leaves it, to a compact ext4 file at path, which must not exist. After
// a failure it may be waiting for the stream until that is closed.
func Write(ctx context.Context, path string, stream io.Reader) (Written, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Written{}, err
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli)) // which processors have an instruction for
	source := ahead.New(io.TeeReader(reader{ctx, stream}, sum))
	out := newHoles(file)
	ballast := make([]byte, ballastSize)
	err = tar2ext4.ConvertTarToExt4(source, out, tar2ext4.MaximumDiskSize(maxWriter))
	runtime.KeepAlive(ballast)
	sums, ferr := out.finish()
	if err = errors.Join(err, ferr); err == nil {
		_, err = io.Copy(io.Discard, source) // the end marker belongs to the sum
	}
	if err := errors.Join(err, file.Close()); err != nil {
		go source.Stop()
		return Written{}, err
	}
	of := sha256.Sum256(sum.Sum(nil))
	return Written{uuid(of[:]), sums}, nil
}

// Salted returns w with a UUID that also depends on salt: images of the same files that are used differently must not be
// the same image.
func (w Written) Salted(salt []byte) Written {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n", w.UUID)
	sum.Write(salt)
	return Written{uuid(sum.Sum(nil)), w.sums}
}

// Finish makes the file at path an ordinary writable file system of size bytes, sparse, with a journal, with as many inodes
// as mke2fs would make, and ready for online growth. It returns the file's digest (sparse.SegmentDigest), and has given
// back its empty blocks.
//
// The order is load-bearing. The kernel grows a mounted file system only with sparse_super, not with the writer's
// sparse_super2, and that puts superblock copies where the writer put files. Every program of e2fsprogs writes these copies,
// e2fsck as the last thing that it does: so it comes first, and moves what it finds there into room that is made for it
// before. It also finds what is in use, and makes the index of each directory. What has a checksum (uninit_bg) says which
// inode tables are empty, so that from then on nobody reads those; that comes before the growth, which makes most of them.
// Where many directories left no room for their indexes, e2fsck has lost count of blocks, and goes on once there is some.
func (w Written) Finish(ctx context.Context, path string, size int64) (model.Digest, error) {
	if ctx.Err() != nil {
		return "", canceled(ctx)
	}
	if err := w.open(path, size); err != nil {
		return "", err
	}
	err := run(ctx, path, []step{
		{tool: "e2fsck", args: []string{"-fyD"}, fixes: true},
		{tool: "tune2fs", args: []string{"-O", "uninit_bg"}},
		{tool: "resize2fs", after: []string{fmt.Sprintf("%dK", size>>10)}},
		{tool: "e2fsck", args: []string{"-fy"}, fixes: true},
		{tool: "tune2fs", args: []string{"-J", "size=" + journalMiB}},
	})
	if err != nil {
		return "", err
	}
	return w.check(ctx, path)
}

// check has e2fsck look at the file system, which changes nothing, while its digest is made.
func (w Written) check(ctx context.Context, path string) (d model.Digest, err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error { return run(both, path, []step{lastLook()}) })
	group.Go(func() (err error) { d, err = sparse.Seal(both, file, w.sums); return })
	err = group.Wait()
	if ctx.Err() != nil {
		err = canceled(ctx)
	}
	if err != nil {
		return "", err
	}
	return d, nil
}

// Seal leaves the file system read-only and as small as it is, and only mends what the writer left.
func (w Written) Seal(ctx context.Context, path string) error {
	return run(ctx, path, []step{
		{tool: "tune2fs", args: []string{"-O", "^read-only", "-U", w.UUID}},
		{tool: "e2fsck", args: []string{"-fy"}, fixes: true},
		lastLook(),
	})
}

// CheckTools says whether the host has the programs that finish a file system.
func CheckTools() error {
	for _, tool := range []string{"tune2fs", "e2fsck", "resize2fs"} {
		if _, err := hosttool.Find(tool, "e2fsprogs"); err != nil {
			return err
		}
	}
	return nil
}

// lastLook finds nothing to mend, or fails.
func lastLook() step { return step{tool: "e2fsck", args: []string{"-fn"}} }

// step is one program of e2fsprogs run on the image: tool args… image after….
type step struct {
	tool  string
	args  []string
	after []string
	fixes bool // exit code 1, errors corrected, is what it is run for
}

func run(ctx context.Context, path string, steps []step) error {
	path, err := filepath.Abs(path) // never taken for an option
	if err != nil {
		return err
	}
	for _, s := range steps {
		if err := s.run(ctx, path); err != nil {
			return fmt.Errorf("%s on the new file system: %w", s.tool, err)
		}
	}
	return nil
}

func (s step) run(ctx context.Context, path string) error {
	tool, err := hosttool.Find(s.tool, "e2fsprogs")
	if err != nil {
		return err
	}
	argv := append(append(append([]string{}, s.args...), path), s.after...)
	cmd := exec.CommandContext(ctx, tool, argv...)
	cmd.Env = []string{
		"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"E2FSPROGS_FAKE_TIME=" + epoch, "E2FSCK_TIME=" + epoch,
		"RESIZE2FS_FORCE_ITABLE_INIT=1", // whatever this host's kernel can do: a guest would zero what is left to it, in its own layer
	}
	out, err := runBriefly(cmd)
	if ctx.Err() != nil {
		return canceled(ctx)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 && s.fixes {
		return nil
	}
	if err != nil && bytes.Contains(out, []byte("No space left on device")) {
		return fmt.Errorf("%w: %s", unix.ENOSPC, lastLines(out))
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, lastLines(out))
	}
	return nil
}

func canceled(ctx context.Context) error {
	return model.Errorf(model.ErrCanceled, "canceled: %w", context.Cause(ctx))
}

// runBriefly runs a program that ends with us: what it works on is then for the next daemon's sweep. That is bound to the
// life of the thread that starts it, so the thread is kept.
func runBriefly(cmd *exec.Cmd) ([]byte, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	crash.At("image.finish.before")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	crash.At("image.finish.after")
	err := cmd.Wait()
	return out.Bytes(), err
}

func lastLines(out []byte) string {
	text := strings.TrimSpace(string(out))
	return text[max(0, len(text)-500):]
}

// uuid shapes a digest as an RFC 9562 version 8 UUID.
func uuid(sum []byte) string {
	b := append([]byte{}, sum[:16]...)
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// reader ends a stream with its context.
type reader struct {
	ctx context.Context
	in  io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.in.Read(p)
}
