package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"banger/internal/hosttool"
	"banger/internal/image/cpio"
	"banger/internal/image/ext4"
)

// payloadDisk makes a read-only disk of a directory's files, which all belong to root.
func payloadDisk(ctx context.Context, file, dir string) error {
	stream, out := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		out.CloseWithError(writeTar(out, dir))
	}()
	written, err := ext4.Write(ctx, file, stream)
	stream.CloseWithError(err)
	<-done
	if err != nil {
		return fmt.Errorf("cannot make the disk with the lab's programs: %w", err)
	}
	return written.Seal(ctx, file)
}

func writeTar(out io.Writer, dir string) error {
	w := tar.NewWriter(out)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == "." {
			return err
		}
		info, err := os.Stat(path) // what a link names
		if err != nil {
			return err
		}
		h := &tar.Header{Name: name, Mode: 0o755, ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg, Size: info.Size()}
		if entry.IsDir() {
			h.Typeflag, h.Size, h.Name = tar.TypeDir, 0, name+"/"
		}
		if err := w.WriteHeader(h); err != nil || entry.IsDir() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(w, file)
		return err
	})
	return errors.Join(err, w.Close())
}

// imagesDisk returns a disk with the images and kernels that were made outside, "" when there are none. It is made once
// of each state of them.
func imagesDisk(ctx context.Context, cache, data string) (string, error) {
	sum, found := sha256.New(), 0
	for _, kind := range []string{"images", "kernels"} {
		err := filepath.WalkDir(filepath.Join(data, kind), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			info, err := entry.Info()
			if err == nil {
				fmt.Fprintln(sum, path, info.Size(), info.ModTime().UnixNano())
				found++
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if found == 0 {
		return "", nil
	}
	file := filepath.Join(cache, fmt.Sprintf("images-%.16x.ext4", sum.Sum(nil)))
	lock, err := lockFile(ctx, filepath.Join(cache, "images.lock"))
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if _, err := os.Stat(file); err == nil {
		return file, os.Chtimes(file, time.Now(), time.Now()) // it is in use
	}
	tool, err := hosttool.Find("mke2fs", "e2fsprogs")
	if err != nil {
		return "", err
	}
	temp := filepath.Join(cache, "images.new")
	if err := errors.Join(os.RemoveAll(temp), os.WriteFile(temp, nil, 0o600), os.Truncate(temp, imagesBytes)); err != nil {
		return "", err
	}
	// It keeps the holes of the images, which are mostly those.
	cmd := exec.CommandContext(ctx, tool, "-q", "-F", "-t", "ext4", "-m", "0", "-J", "size=16",
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0", "-d", data, temp)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot make the disk with the images: %w: %s", err, out)
	}
	return file, os.Rename(temp, file)
}

// imagesBytes is the size of that disk, which is sparse, with room for what scenarios build.
const imagesBytes = 16 << 30

// initramfs writes the lab's: the early modules, and the program that runs inside as /init.
func initramfs(file, early, program string) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	modules, err := os.ReadFile(early)
	if err != nil {
		return err
	}
	init, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if _, err := out.Write(modules); err != nil {
		return err
	}
	w := cpio.NewWriter(out)
	if err := w.Add(cpio.Entry{Name: "init", Mode: cpio.TypeRegular | 0o755, Size: int64(len(init))}); err != nil {
		return err
	}
	if _, err := w.Write(init); err != nil {
		return err
	}
	return w.Close()
}
