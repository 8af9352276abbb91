package servertest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"unicode/utf8"

	"banger/internal/model"
	"banger/internal/rootedfs"
)

// root is the directory that is every guest's root, once the test has set Root and the VM runs.
func (s *VMs) root(id model.VMID) (string, error) {
	v := s.view(id)
	if v.State != model.StateRunning {
		return "", model.Errorf(model.ErrState, "cannot copy files of %s: it is %s; start it with: banger vm start %s", v.Name, v.State, v.Name)
	}
	if s.Root == "" {
		return "", errors.New("the test has no root")
	}
	return s.Root, nil
}

// StatFile looks below Root.
func (s *VMs) StatFile(_ context.Context, id model.VMID, name string, follow bool) (model.FileInfo, error) {
	root, err := s.root(id)
	if err != nil {
		return model.FileInfo{}, err
	}
	resolved, info, err := rootedfs.Resolve(root, name, follow)
	if errors.Is(err, fs.ErrNotExist) {
		return model.FileInfo{}, nil
	}
	f := model.FileInfo{Exists: true, Mode: info.Mode, Size: info.Size, ModTime: info.ModTime, Real: resolved}
	if err == nil && info.Mode&fs.ModeSymlink != 0 {
		f.Target, err = rootedfs.Target(root, resolved)
	}
	return f, err
}

// ListFiles lists a directory below Root.
func (s *VMs) ListFiles(ctx context.Context, id model.VMID, dir, prefix string) ([]model.FileName, error) {
	below, err := s.root(id)
	if err != nil {
		return nil, err
	}
	root, err := rootedfs.OpenIn(below, dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	found, err := root.Names(ctx, prefix, model.MaxListed, model.MaxScanned)
	var names []model.FileName
	for _, e := range found {
		if utf8.ValidString(e.Name()) {
			names = append(names, model.FileName{Name: e.Name(), Dir: e.IsDir()})
		}
	}
	return names, err
}

// ReadFiles packs what is below Root, or writes Archive when that is set.
func (s *VMs) ReadFiles(ctx context.Context, id model.VMID, r model.FileRead, w io.Writer) error {
	root, err := s.root(id)
	if err != nil {
		return err
	}
	if s.Archive != nil {
		return s.Archive(ctx, w)
	}
	resolved, _, err := rootedfs.Resolve(root, r.Path, r.Follow)
	if err != nil {
		return err
	}
	dir, err := rootedfs.OpenIn(root, path.Dir(resolved))
	if err != nil {
		return err
	}
	defer dir.Close()
	name := path.Base(resolved)
	if resolved == "/" {
		name = "."
	}
	_, err = dir.Pack(ctx, name, w, rootedfs.PackOptions{Name: r.Name, Portable: r.Portable, Warn: r.Warn})
	return err
}

// WriteFiles unpacks below Root.
func (s *VMs) WriteFiles(ctx context.Context, id model.VMID, w model.FileWrite, archive io.Reader) (model.FileSummary, error) {
	root, err := s.root(id)
	if err != nil {
		return model.FileSummary{}, err
	}
	dir, err := rootedfs.OpenIn(root, w.Dir)
	if err != nil {
		return model.FileSummary{}, err
	}
	defer dir.Close()
	return dir.Extract(ctx, archive, rootedfs.ExtractOptions{Name: w.Name, Warn: w.Warn, Special: true})
}
