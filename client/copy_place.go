package client

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"

	bangerv1 "banger/api/banger/v1"
	"banger/internal/model"
)

// source is what is copied.
type source struct {
	label    string // for messages
	real     string // absolute, with the links resolved that are followed
	base     string // what a copy is called unless another name is given; "." for a directory's content
	dir      bool
	contents bool // of the directory, not the directory
}

func (s source) request(vm VM, name string) *bangerv1.ReadFilesRequest {
	return &bangerv1.ReadFilesRequest{VmId: vm.ID, Path: s.real, Name: nameOr(name, ".")}
}

// target is where it goes.
type target struct {
	label  string
	path   string // clean
	real   string // where it exists, with every link resolved
	slash  bool   // it was written as a directory
	exists bool
	dir    bool
}

// spelled is what the way in which a path is written says: dir/ is a directory, dir/. the content of one.
func spelled(p string) (slash, contents bool) {
	contents = p == "." || strings.HasSuffix(p, "/.") || path.Clean("/"+p) == "/"
	return contents || strings.HasSuffix(p, "/"), contents
}

func (c *Client) guestSource(ctx context.Context, vm VM, p string, o CopyOptions) (source, error) {
	slash, contents := spelled(p)
	clean := path.Clean("/" + p)
	label := vm.Name + ":" + p
	info, err := c.StatFile(ctx, vm.ID, clean, o.Follow || slash)
	if err != nil {
		return source{}, err
	}
	s := source{label: label, real: info.Real, base: path.Base(clean), dir: info.Mode.IsDir(), contents: contents}
	switch {
	case !info.Exists:
		return s, model.Errorf(model.ErrNotFound, "there is no %s; to look around: banger vm exec %s -- ls %s", label, vm.Name, path.Dir(clean))
	case slash && !s.dir:
		return s, model.Errorf(model.ErrInvalid, "%s is no directory", label)
	}
	if contents {
		s.base = "."
	}
	return s, nil
}

func hostSource(p string, o CopyOptions) (source, error) {
	slash, contents := spelled(p)
	abs, err := filepath.Abs(p)
	if err != nil {
		return source{}, err
	}
	s := source{label: p, real: abs, base: filepath.Base(abs), contents: contents && !strings.HasSuffix(filepath.Clean(p), "..")}
	look := os.Lstat
	if o.Follow || slash {
		look = os.Stat
	}
	info, err := look(abs)
	if err != nil {
		return s, hostError("copy", p, err)
	}
	if s.dir = info.IsDir(); slash && !s.dir {
		return s, model.Errorf(model.ErrInvalid, "%s is no directory", p)
	}
	if o.Follow || slash {
		if s.real, err = filepath.EvalSymlinks(abs); err != nil {
			return s, hostError("copy", p, err)
		}
	} else if s.real, err = filepath.EvalSymlinks(filepath.Dir(abs)); err != nil {
		return s, hostError("copy", p, err)
	} else {
		s.real = filepath.Join(s.real, s.base)
	}
	return s, nil
}

// hostError is an error of this host's files, with its kind.
func hostError(doing, p string, err error) error {
	kind := model.ErrInvalid
	if errors.Is(err, os.ErrNotExist) {
		kind = model.ErrNotFound
	} else if errors.Is(err, os.ErrPermission) {
		kind = model.ErrDenied
	}
	var of *os.PathError
	if errors.As(err, &of) {
		err = of.Err
	}
	return model.Errorf(kind, "cannot %s %s: %w", doing, p, err)
}

func hostTarget(p string) (target, error) {
	slash, _ := spelled(p)
	abs, err := filepath.Abs(p)
	if err != nil {
		return target{}, err
	}
	t := target{label: p, path: abs, slash: slash}
	info, err := os.Stat(abs)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Lstat(abs); err == nil {
			return t, model.Errorf(model.ErrInvalid, "cannot copy to %s: it is a symbolic link to nothing", p)
		}
		return t, nil
	}
	if err != nil {
		return t, hostError("copy to", p, err)
	}
	t.exists, t.dir = true, info.IsDir()
	t.real, err = filepath.EvalSymlinks(abs)
	return t, err
}

func (c *Client) guestTarget(ctx context.Context, vm VM, p string) (target, error) {
	slash, _ := spelled(p)
	t := target{label: vm.Name + ":" + p, path: path.Clean("/" + p), slash: slash}
	info, err := c.StatFile(ctx, vm.ID, t.path, true)
	if err != nil {
		return t, err
	}
	t.exists, t.dir, t.real = info.Exists, info.Mode.IsDir(), info.Real
	if info.Exists {
		return t, nil
	}
	link, err := c.StatFile(ctx, vm.ID, t.path, false)
	if err == nil && link.Exists {
		err = model.Errorf(model.ErrInvalid, "cannot copy to %s: it is a symbolic link to nothing", t.label)
	}
	return t, err
}

// place is docker cp's rule: which name in which directory the copy gets. Without a name the directory's content goes
// into the directory.
func place(src source, dst target) (dir, name string, err error) {
	switch {
	case dst.exists && dst.dir && src.contents:
		return dst.real, "", nil
	case dst.exists && dst.dir:
		return dst.real, src.base, nil
	case dst.exists && (src.dir || dst.slash):
		return "", "", model.Errorf(model.ErrInvalid, "cannot copy %s to %s: that is a file, not a directory", src.label, dst.label)
	case dst.exists:
		return path.Dir(dst.real), path.Base(dst.real), nil
	case dst.slash && !src.dir:
		return "", "", model.Errorf(model.ErrNotFound, "cannot copy %s to %s: there is no such directory; make it first", src.label, dst.label)
	}
	return path.Dir(dst.path), path.Base(dst.path), nil
}

func nameOr(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

func baseOf(real string) string {
	if real == "/" {
		return "."
	}
	return filepath.Base(real)
}
