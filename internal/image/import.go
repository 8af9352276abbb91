package image

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"

	"banger/internal/crash"
	"banger/internal/image/archive"
	"banger/internal/image/layers"
	"banger/internal/image/oci"
	"banger/internal/image/refname"
	"banger/internal/model"
)

// ImportRequest asks for an image of an archive.
type ImportRequest struct {
	Name     string    // "" for the one that the archive gives
	Path     string    // of a file, or of the directory of an OCI layout
	Stream   io.Reader // in place of Path
	Platform string    // where there are several; "" for the VMs' own
}

// Import makes an image of an archive: a root file system's tar, what docker saves, or an OCI layout, plain or compressed.
func (s *Service) Import(ctx context.Context, r ImportRequest, report model.Report) (model.Image, error) {
	if r.Name != "" {
		if _, err := newName(r.Name); err != nil {
			return model.Image{}, err
		}
	}
	platform, err := oci.ParsePlatform(r.Platform)
	if err != nil {
		return model.Image{}, err
	}
	made, err := s.create(ctx, func(ctx context.Context, dir string, work scratch) (made fresh, err error) {
		a, err := s.openArchive(ctx, r, work, report)
		if err != nil {
			return made, err
		}
		defer func() { err = errors.Join(err, a.Close()) }()
		i, err := contents(a, platform)
		if err != nil {
			return made, err
		}
		name, err := importName(r.Name, i.Names)
		if err != nil {
			return made, err
		}
		made, err = s.flatten(ctx, dir, work, i.Layers, i.Config, report)
		made.Name, made.Source, made.Manifest = name.String(), sourceImport+sourceOf(r), i.Manifest
		return made, err
	}, report)
	return made, s.explain(ctx, err, "import "+sourceOf(r))
}

func (s *Service) openArchive(ctx context.Context, r ImportRequest, work scratch, report model.Report) (*archive.Archive, error) {
	o := archive.Options{Scratch: work.dir, MaxBytes: s.limits.Bytes, Progress: byteProgress("read the archive", report)}
	if r.Stream == nil {
		report(model.Progress{Stage: "look at the archive"})
		return archive.OpenPath(ctx, r.Path, o)
	}
	file, err := archive.Spool(ctx, r.Stream, o)
	if err != nil {
		return nil, err
	}
	crash.At("image.import.spooled")
	o.Progress = nil
	return archive.OpenFile(ctx, file, sourceOf(r), o)
}

// How the source of an image begins that was taken from a file.
const (
	sourceImport   = "import of "
	sourceRegister = "copy of "
)

func sourceOf(r ImportRequest) string {
	if r.Stream != nil {
		return "standard input"
	}
	return filepath.Base(r.Path)
}

// contents is an archive's one image; of a root file system that has no configuration, the zero one.
func contents(a *archive.Archive, platform oci.Platform) (archive.Image, error) {
	root, ok := a.Rootfs()
	if ok {
		return archive.Image{Config: oci.Config{Platform: platform}, Layers: []layers.Layer{root}}, nil
	}
	return a.Image(platform)
}

// importName is the name that was asked for, or else the first of the archive's that is more than a tag.
func importName(asked string, given []string) (refname.Name, error) {
	if asked != "" {
		return newName(asked)
	}
	for _, text := range given {
		if n, err := newName(text); err == nil && strings.ContainsAny(text, ":/") {
			return n, nil
		}
	}
	return refname.Name{}, model.Errorf(model.ErrInvalid, "the archive does not say what the image is called: give it a name with --name")
}
