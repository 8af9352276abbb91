// Package workdisk makes the disk that holds a VM's home directory.
//
// It is one sparse file with an empty ext4 in it, made by mke2fs before any guest has seen it. After that no program of
// the host reads the file system in it: the guest's kernel replays its journal, the agent seeds it.
package workdisk

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/hosttool"
	"banger/internal/model"
)

// options are mke2fs's, in one place. A size is never among them, since its unit is not what one thinks: the file has its
// length before. An 8 GiB disk takes 10 ms and 4.3 MB with the lazy ones, half a second without.
func options() []string {
	return []string{
		"-q", "-F", "-t", "ext4",
		"-b", strconv.Itoa(block), // mke2fs would take 1024 for a small disk
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0",
		"-J", "size=16", // MiB; enough for one user's writes
		"-m", "0", // no blocks for root only: the guest's user often is root
		"-O", "^orphan_file,^metadata_csum_seed", // kernels before 5.15 and 4.4 refuse to mount these
	}
}

// block is what sizes are rounded up to: ext4's, and a multiple of what any VMM counts in.
const block = 4096

// Create makes the disk at path with room for bytes. It takes host space only as the guest writes, so bytes may be more
// than the host has. Nothing is left at path when it fails; a disk of that size that is there is kept as it is, one of
// another size is ErrExists.
func Create(ctx context.Context, path string, bytes int64) error {
	if bytes < model.MinDiskBytes || bytes > model.MaxDiskBytes {
		return model.Errorf(model.ErrInvalid, "cannot make a work disk of %s: between %s and %s are possible",
			model.FormatSize(bytes), model.FormatSize(model.MinDiskBytes), model.FormatSize(model.MaxDiskBytes))
	}
	if err := ctx.Err(); err != nil {
		return model.HostErrorf(err, "cannot make the work disk")
	}
	bytes = (bytes + block - 1) / block * block
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().IsRegular() && info.Size() == bytes {
			return nil
		}
		return model.Errorf(model.ErrExists, "cannot make the work disk: %s is there and is another", path)
	}
	mke2fs, err := hosttool.Find("mke2fs", "e2fsprogs")
	if err != nil {
		return err
	}
	if err := atomicfile.Sweep(path); err != nil { // what a crashed Create left
		return model.HostErrorf(err, "cannot make the work disk")
	}
	crash.At("workdisk.create.before")
	if err := build(ctx, mke2fs, path, bytes); err != nil {
		return model.HostErrorf(err, "cannot make the work disk")
	}
	crash.At("workdisk.create.after")
	return nil
}

func build(ctx context.Context, mke2fs, path string, bytes int64) error {
	file, err := atomicfile.Create(path, 0o600)
	if err != nil {
		return err
	}
	if err := file.Truncate(bytes); err != nil {
		return errors.Join(err, file.Abort())
	}
	if err := format(ctx, mke2fs, file.Name()); err != nil {
		return errors.Join(err, file.Abort())
	}
	return file.Commit()
}

func format(ctx context.Context, mke2fs, path string) error {
	cmd := exec.CommandContext(ctx, mke2fs, append(options(), path)...)
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

// Remove takes the disk at path away, with what a crashed Create left beside it. That there is none is success.
func Remove(path string) error {
	crash.At("workdisk.remove.before")
	if err := errors.Join(atomicfile.Remove(path), atomicfile.Sweep(path)); err != nil {
		return model.HostErrorf(err, "cannot remove the work disk")
	}
	crash.At("workdisk.remove.after")
	return nil
}

// Usage returns what the disk at path takes on the host, in bytes; ErrNotFound when there is none.
func Usage(path string) (int64, error) {
	var stat syscall.Stat_t
	if err := syscall.Lstat(path, &stat); errors.Is(err, fs.ErrNotExist) {
		return 0, model.Errorf(model.ErrNotFound, "cannot tell what the work disk takes: %s is gone", path)
	} else if err != nil {
		return 0, model.HostErrorf(err, "cannot tell what the work disk takes")
	}
	return stat.Blocks * 512, nil // st_blocks counts 512 bytes, inode(7)
}
