package image

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/image/sparse"
	"banger/internal/model"
)

// RegisterRequest asks for an image of an ext4 file.
type RegisterRequest struct {
	Name     string
	Path     string
	InitPath string // of the init program inside that becomes process 1; "" leaves that to the agent
}

// Register makes an image of a copy of an ext4 file. Nothing of this host looks into it beyond its superblock: what it
// holds is the guest's business.
func (s *Service) Register(ctx context.Context, r RegisterRequest, report model.Report) (model.Image, error) {
	n, err := newName(r.Name)
	if err != nil {
		return model.Image{}, err
	}
	if r.InitPath != "" && (!path.IsAbs(r.InitPath) || len(r.InitPath) > 4000) {
		return model.Image{}, model.Errorf(model.ErrInvalid, "%.80q cannot be the init program: write its absolute path in the image", r.InitPath)
	}
	made, err := s.create(ctx, func(ctx context.Context, dir string, _ scratch) (fresh, error) {
		report(model.Progress{Stage: "copy the file system"})
		if err := copyFileSystem(ctx, r.Path, filepath.Join(dir, rootFile)); err != nil {
			return fresh{}, err
		}
		crash.At("image.register.copied")
		made := model.Image{Name: n.String(), Arch: "amd64", Platform: "linux/amd64", Source: sourceRegister + filepath.Base(r.Path), Init: model.InitAgent}
		if r.InitPath != "" {
			made.Init, made.InitPath = model.InitSystemd, r.InitPath
		}
		return fresh{Image: made}, nil
	}, report)
	return made, s.explain(ctx, err, "register "+r.Path)
}

func copyFileSystem(ctx context.Context, from, to string) error {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return model.Errorf(model.ErrNotFound, "cannot register %s: there is no such file", from)
	case errors.Is(err, fs.ErrPermission):
		return model.Errorf(model.ErrDenied, "cannot register %s: you may not read it; look at its permissions with: ls -l %s", from, from)
	case err != nil:
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return model.Errorf(model.ErrInvalid, "cannot register %s: it is no file", from)
	}
	if err := checkSuperblock(in, info.Size()); err != nil {
		return model.Errorf(model.KindOf(err), "cannot register %s: %w", from, err)
	}
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(sparse.Copy(ctx, out, in), out.Close())
}

// The fields of an ext4 superblock that are looked at, by their offsets in it.
const (
	superblockAt     = 1024
	superblockSize   = 1024
	fieldBlocksLow   = 0x04
	fieldBlockSize   = 0x18 // as the power of two of KiB
	fieldMagic       = 0x38
	fieldIncompat    = 0x60
	fieldBlocksHigh  = 0x150
	magicExt         = 0xef53
	incompat64       = 0x80
	incompatJournal  = 0x8 // it is the journal of another file system
	largestBlockSize = 6   // 64 KiB
	// sector is the unit that disks are counted in.
	sector = 512
)

// checkSuperblock says whether a file may be an ext4 file system that is all there.
func checkSuperblock(file io.ReaderAt, size int64) error {
	block := make([]byte, superblockSize)
	if _, err := file.ReadAt(block, superblockAt); err != nil && !errors.Is(err, io.EOF) {
		return model.HostErrorf(err, "it cannot be read")
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(block[at:]) }
	if binary.LittleEndian.Uint16(block[fieldMagic:]) != magicExt {
		return model.Errorf(model.ErrInvalid, "it is no ext4 file system; of a disk with partitions, copy the one with the root out first; an archive is taken with: banger image import")
	}
	if word(fieldBlockSize) > largestBlockSize || word(fieldIncompat)&incompatJournal != 0 {
		return model.Errorf(model.ErrInvalid, "its superblock makes no sense")
	}
	blocks := uint64(word(fieldBlocksLow))
	if word(fieldIncompat)&incompat64 != 0 {
		blocks |= uint64(word(fieldBlocksHigh)) << 32
	}
	if shift := 10 + word(fieldBlockSize); blocks == 0 || blocks > uint64(size)>>shift {
		return model.Errorf(model.ErrCorrupt, "the file is cut off: it has %s, its file system %d blocks of %s", model.FormatSize(size), blocks, model.FormatSize(1<<shift))
	}
	if size%sector != 0 {
		return model.Errorf(model.ErrInvalid, "its size is not a multiple of %d bytes, as a disk's is; make it one with: truncate -s %%%d FILE", sector, sector)
	}
	return nil
}
