package system

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"path/filepath"
	"time"

	"banger/internal/fcversion"
	"banger/internal/helper/jail"
	"banger/internal/model"
)

// findJailed returns the programs that make jails: Firecracker, where it is named or else in PATH, and the jailer of the
// same version beside it. That there are none in PATH is no error.
func (s *System) findJailed(ctx context.Context, named string) ([]string, error) {
	path := named
	if path == "" {
		found, err := s.o.LookPath(jail.Firecracker)
		if errors.Is(err, exec.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, model.Errorf(kindOf(err), "cannot install Firecracker for jails: %w", err)
		}
		path = found
	}
	fail := func(err error) ([]string, error) {
		return nil, model.Errorf(kindOf(err), "cannot install %s for jails: %w", path, err)
	}
	firecracker, err := s.program(path, jail.Firecracker)
	if err != nil {
		return fail(err)
	}
	jailer, err := s.program(filepath.Join(filepath.Dir(firecracker), jail.Jailer), jail.Jailer)
	if errors.Is(err, fs.ErrNotExist) && named == "" {
		return nil, nil // it has none, and nobody asked for it
	}
	if err != nil {
		return fail(err)
	}
	version, err := s.release(ctx, firecracker, fcversion.Firecracker)
	if err != nil {
		return fail(err)
	}
	jailers, err := s.release(ctx, jailer, fcversion.Jailer)
	if err != nil {
		return fail(err)
	}
	if version != jailers {
		return fail(model.Errorf(model.ErrUnsupported, "it is of version %s, and the jailer beside it of version %s: they are made for each other", version, jailers))
	}
	return []string{firecracker, jailer}, nil
}

// program is a program's own path, which has to end in its name: so the copy is called.
func (s *System) program(path, name string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if err == nil {
		resolved, err = filepath.Abs(resolved)
	}
	if err == nil && filepath.Base(resolved) != name {
		err = model.Errorf(model.ErrInvalid, "the program is %s, and has to be called %s", resolved, name)
	}
	return resolved, err
}

const versionLimit = 20 * time.Second // for a program to say its version, on a host whose every core is busy

// release is the version of a program of Firecracker's, unless that has known holes.
func (s *System) release(ctx context.Context, path, name string) (string, error) {
	said, err := s.o.Version(ctx, path)
	if err != nil {
		return "", err
	}
	return fcversion.Of(path, name, said)
}

// askVersion has a program say its version.
func askVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", model.Errorf(model.ErrUnsupported, "cannot ask %s for its version: %w", path, err)
	}
	return string(out), nil
}
