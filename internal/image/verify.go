package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"banger/internal/image/sparse"
	"banger/internal/model"
)

// Verify checks, before a start, that the files of an image or a kernel are there and as large as they were made. It
// reads none of them. ErrCorrupt names the command that builds them again.
func (s *Service) Verify(ctx context.Context, d model.Digest) error {
	kind, name, err := s.known(ctx, d)
	if err != nil {
		return err
	}
	return advise(kind, name, s.checkBlob(kind, d))
}

// VerifyContent also reads every byte and compares the digests. It takes seconds.
func (s *Service) VerifyContent(ctx context.Context, d model.Digest) error {
	kind, name, err := s.known(ctx, d)
	if err != nil {
		return err
	}
	m, err := s.readBlob(kind, d)
	if err != nil {
		return advise(kind, name, err)
	}
	for file, want := range m.Files {
		path := filepath.Join(s.blobDir(kind, d), file)
		got, err := digestFile(ctx, path)
		if err != nil {
			return err
		}
		if got != want.Digest {
			return advise(kind, name, model.Errorf(model.ErrCorrupt, "the content of %s has changed", path))
		}
	}
	return nil
}

// known returns what d is by its row.
func (s *Service) known(ctx context.Context, d model.Digest) (kind, name string, err error) {
	for _, kind := range []string{kindImage, kindKernel} {
		rows, err := s.rows(ctx, kind)
		if err != nil {
			return "", "", err
		}
		if name, ok := rows[d]; ok {
			return kind, name, nil
		}
	}
	return "", "", model.Errorf(model.ErrNotFound, "cannot find an image or kernel %s: run banger image list", d)
}

func advise(kind, name string, err error) error {
	switch {
	case err == nil || !errors.Is(err, model.ErrCorrupt):
		return err
	case kind == kindImage && name != "":
		return model.Errorf(model.ErrCorrupt, "cannot use image %s: %w; build it again with: banger image build --force %s", name, err, name)
	case kind == kindImage:
		return model.Errorf(model.ErrCorrupt, "cannot use this VM's image, which a newer one has replaced: %w; make a new VM of the image there is now", err)
	}
	return model.Errorf(model.ErrCorrupt, "cannot use kernel %s: %w; the next banger vm create makes it again", name, err)
}

// checkBlob is readBlob for who wants only its error.
func (s *Service) checkBlob(kind string, d model.Digest) error {
	_, err := s.readBlob(kind, d)
	return err
}

// readBlob reads the manifest of a blob and checks its files against it, sizes only. What is missing is ErrCorrupt.
func (s *Service) readBlob(kind string, d model.Digest) (manifest, error) {
	dir := s.blobDir(kind, d)
	m, err := readManifest(dir)
	if errors.Is(err, model.ErrNotFound) {
		return m, model.Errorf(model.ErrCorrupt, "%w", err)
	}
	if err != nil {
		return m, err
	}
	if m.digest() != d || (m.Image != nil) != (kind == kindImage) {
		return m, model.Errorf(model.ErrCorrupt, "%s belongs to something else", filepath.Join(dir, manifestFile))
	}
	for _, name := range blobFiles(kind) {
		want, listed := m.Files[name]
		if !listed {
			return m, model.Errorf(model.ErrCorrupt, "%s does not list %s", filepath.Join(dir, manifestFile), name)
		}
		if err := checkFile(filepath.Join(dir, name), want.Bytes); err != nil {
			return m, err
		}
	}
	return m, nil
}

func blobFiles(kind string) []string {
	if kind == kindImage {
		return []string{rootFile}
	}
	return kernelFiles[:]
}

func checkFile(path string, size int64) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return model.Errorf(model.ErrCorrupt, "its file %s is missing", path)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return model.Errorf(model.ErrCorrupt, "%s is not a regular file", path)
	case info.Size() != size:
		return model.Errorf(model.ErrCorrupt, "its file %s has %d bytes instead of %d", path, info.Size(), size)
	}
	return nil
}

func digestFile(ctx context.Context, path string) (model.Digest, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return sparse.Digest(ctx, file)
}
