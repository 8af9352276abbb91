package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"banger/internal/crash"
	"banger/internal/image/refname"
	"banger/internal/model"
)

// Adopt gives rows to the whole images and kernels of the data directory that have none and whose names are free: those
// that another installation made, or that outlived the database. Twice is fine.
func (s *Service) Adopt(ctx context.Context) error {
	return errors.Join(s.adopt(ctx, kindImage), s.adopt(ctx, kindKernel))
}

func (s *Service) adopt(ctx context.Context, kind string) error {
	all, err := s.adoptable(ctx, kind)
	for _, m := range all {
		crash.At("image.adopt.before-row")
		if err := s.insertAdopted(ctx, m); err != nil && !errors.Is(err, model.ErrExists) {
			return err
		}
		crash.At("image.adopt.after-row")
		s.log.Info("adopted from the data directory", "kind", kind, "name", m.name(), "digest", m.digest())
	}
	return err
}

// adoptable lists what Adopt gives rows to.
func (s *Service) adoptable(ctx context.Context, kind string) ([]manifest, error) {
	dir := filepath.Join(s.dirs.Data, kind)
	entries, err := os.ReadDir(dir)
	if len(entries) == 0 {
		return nil, ignoreMissing(err)
	}
	rows, err := s.rows(ctx, kind)
	if err != nil {
		return nil, err
	}
	taken := map[string]bool{}
	for _, name := range rows {
		taken[name] = true
	}
	var all []manifest
	for _, e := range entries {
		digest := model.Digest("sha256:" + e.Name())
		if _, known := rows[digest]; known || !digest.Valid() {
			continue
		}
		if _, pending := marked(filepath.Join(dir, e.Name())); pending {
			continue
		}
		m, err := s.readBlob(kind, digest)
		if err != nil {
			s.log.Warn("cannot adopt what lies in the data directory", "kind", kind, "digest", digest, "error", err)
			continue
		}
		if name := m.name(); taken[name] || !refname.Fits(name) {
			continue
		}
		taken[m.name()] = true
		all = append(all, m)
	}
	return all, nil
}

func (s *Service) insertAdopted(ctx context.Context, m manifest) error {
	if m.Image != nil {
		if m.Image.Platform == "" { // of an earlier version, which knew no other
			m.Image.Platform = "linux/amd64"
		}
		return s.catalog.InsertImage(ctx, model.Image(*m.Image))
	}
	return s.catalog.InsertKernel(ctx, model.Kernel(*m.Kernel))
}
