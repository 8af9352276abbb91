// Package workdisk makes the disk that holds a VM's home directory.
//
// It is one sparse file with an empty ext4 in it, which the agent fills from the image's own home.
package workdisk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/emptyext4"
	"banger/internal/model"
)

// File is the disk's name in its VM's directory.
const File = "work.ext4"

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
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().IsRegular() && info.Size() == emptyext4.FileBytes(bytes) {
			return nil
		}
		return model.Errorf(model.ErrExists, "cannot make the work disk: %s is there and is another", path)
	}
	if err := atomicfile.Sweep(path); err != nil { // what a crashed Create left
		return model.HostErrorf(err, "cannot make the work disk")
	}
	crash.At("workdisk.create.before")
	if err := emptyext4.Create(ctx, path, bytes); err != nil {
		return model.HostErrorf(err, "cannot make the work disk")
	}
	crash.At("workdisk.create.after")
	return nil
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
