// Package emptyext4 makes sparse files that hold an empty ext4 file system for a guest.
//
// mke2fs makes the first one of a size, before any guest has seen it; those that follow are written from memory as it was,
// with the same UUID: no host mounts them, and no guest has two. After that no program of the host reads what is in such a
// file: the guest's kernel replays its journal, and the file system grows online or not at all.
package emptyext4

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strconv"
	"syscall"

	"banger/internal/atomicfile"
	"banger/internal/hosttool"
)

// block is what sizes are rounded up to: ext4's, and a multiple of what any VMM counts in.
const block = 4096

// growth is how many times its size such a file system can grow to online before the kernel has to rearrange its group
// descriptors. What is reserved for them is not zeros: mke2fs's own 1024 blocks would be nearly all that a new disk takes.
const growth = 16

// options are mke2fs's, in one place. A size is never among them, since its unit is not what one thinks: the file has its
// length before, of so many bytes. An 8 GiB disk takes 4 ms and 260 KB with the lazy ones, half a second without.
func options(bytes int64) []string {
	return []string{
		"-q", "-F", "-t", "ext4",
		"-b", strconv.Itoa(block), // mke2fs would take 1024 for a small disk
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0,resize=" + strconv.FormatInt(growth*bytes/block, 10),
		"-J", "size=16", // MiB; enough for one user's writes
		"-m", "0", // no blocks for root only: the guest's user often is root
		"-O", "^orphan_file,^metadata_csum_seed", // kernels before 5.15 and 4.4 refuse to mount these
	}
}

// FileBytes is the size of the file that Create makes when it is asked for so many bytes.
func FileBytes(bytes int64) int64 { return (bytes + block - 1) / block * block }

// Find returns mke2fs, or an ErrUnsupported that names the package to install.
func Find() (string, error) { return hosttool.Find("mke2fs", "e2fsprogs") }

// Create makes the file at path, replacing what is there, with room for bytes. It takes host space only as the guest
// writes, so bytes may be more than the host has. Nothing is left when it fails.
func Create(ctx context.Context, path string, bytes int64) error {
	mke2fs, err := Find()
	if err != nil {
		return err
	}
	file, err := atomicfile.Create(path, 0o600)
	if err != nil {
		return err
	}
	size := FileBytes(bytes)
	err = errors.Join(ctx.Err(), file.Truncate(size))
	if err == nil {
		err = kept.write(ctx, file.File, size, func() error { return format(ctx, mke2fs, file.Name(), size) })
	}
	if err != nil {
		return errors.Join(err, file.Abort())
	}
	return file.Commit()
}

func format(ctx context.Context, mke2fs, path string, size int64) error {
	cmd := exec.CommandContext(ctx, mke2fs, append(options(size), path)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if bytes.Contains(out, []byte("No space left on device")) {
		return syscall.ENOSPC
	}
	return errors.New(mke2fs + ": " + string(bytes.TrimSpace(out[:min(1024, len(out))])))
}
