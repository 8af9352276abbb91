package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/image/sparse"
	"banger/internal/model"
)

// Verify checks, before a start, that an image or a kernel is what its digest says. It reads the files only when they were
// touched since they were last known to be right; then it takes as long as VerifyContent. ErrCorrupt names the command that
// makes them again.
func (s *Service) Verify(ctx context.Context, d model.Digest) error {
	kind, err := s.known(ctx, d)
	if err != nil {
		return err
	}
	if err := s.checkBlob(kind, d); err != nil {
		return s.advise(ctx, kind, d, err)
	}
	now, err := s.lookAt(kind, d)
	if err != nil {
		return err
	}
	if s.untouched(kind, d, now) {
		return nil
	}
	if err := s.VerifyContent(ctx, d); err != nil {
		return err
	}
	s.remember(kind, d, now)
	return nil
}

// VerifyContent reads every byte and compares the digests. It takes seconds.
func (s *Service) VerifyContent(ctx context.Context, d model.Digest) error {
	kind, err := s.known(ctx, d)
	if err != nil {
		return err
	}
	return s.advise(ctx, kind, d, s.compareContent(ctx, kind, d))
}

func (s *Service) compareContent(ctx context.Context, kind string, d model.Digest) error {
	m, err := s.readBlob(kind, d)
	if err != nil {
		return err
	}
	for file, want := range m.Files {
		path := filepath.Join(s.blobDir(kind, d), file)
		got, err := digestFile(ctx, path, want)
		if err != nil {
			return err
		}
		if got != want.Digest {
			return model.Errorf(model.ErrCorrupt, "the content of %s has changed", path)
		}
	}
	return nil
}

// known returns what d is by its row.
func (s *Service) known(ctx context.Context, d model.Digest) (kind string, err error) {
	for _, kind := range []string{kindImage, kindKernel} {
		rows, err := s.rows(ctx, kind)
		if err != nil {
			return "", err
		}
		if _, ok := rows[d]; ok {
			return kind, nil
		}
	}
	return "", model.Errorf(model.ErrNotFound, "cannot find an image or kernel %s: run banger image list", d)
}

// advise names the command that mends what is corrupt.
func (s *Service) advise(ctx context.Context, kind string, d model.Digest, err error) error {
	if err == nil || !errors.Is(err, model.ErrCorrupt) {
		return err
	}
	if kind == kindKernel {
		k, kerr := s.Kernel(ctx, string(d))
		return errors.Join(model.Errorf(model.ErrCorrupt, "cannot use kernel %s: %w; the next banger vm create makes it again", k.Name, err), kerr)
	}
	i, ierr := s.Image(ctx, string(d))
	switch {
	case ierr != nil:
		return errors.Join(err, ierr)
	case i.Name == "":
		return model.Errorf(model.ErrCorrupt, "cannot use this VM's image, which a newer one has replaced: %w; make a new VM of the image there is now", err)
	case i.Reference != "":
		return model.Fixable(model.ErrCorrupt, "banger image pull "+i.Name, "cannot use image %s: %w", i.Name, err)
	case strings.HasPrefix(i.Source, sourceImport) || strings.HasPrefix(i.Source, sourceRegister):
		return model.Errorf(model.ErrCorrupt, "cannot use image %s, a %s: %w; take it again from where it came", i.Name, i.Source, err)
	}
	return model.Fixable(model.ErrCorrupt, "banger image build --force "+i.Name, "cannot use image %s: %w", i.Name, err)
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

func digestFile(ctx context.Context, path string, want fileInfo) (model.Digest, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	switch {
	case want.Segments:
		return sparse.SegmentDigest(ctx, file)
	case want.Data:
		return sparse.DataDigest(ctx, file)
	}
	return sparse.Digest(ctx, file)
}
