package system

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

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
	versions := [2]string{}
	for i, program := range []string{firecracker, jailer} {
		if versions[i], err = s.o.Version(ctx, program); err != nil {
			return fail(err)
		}
	}
	if versions[0] != versions[1] {
		return fail(model.Errorf(model.ErrUnsupported, "it is of version %s, and the jailer beside it of version %s: they are made for each other", versions[0], versions[1]))
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

var versionPattern = regexp.MustCompile(`^(?:Firecracker|Jailer) v(\d{1,4}\.\d{1,4}\.\d{1,4}[0-9A-Za-z.+~-]{0,60})`)

// askVersion asks a program of Firecracker's for its version.
func askVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", model.Errorf(model.ErrUnsupported, "cannot ask %s for its version: %w", path, err)
	}
	found := versionPattern.FindSubmatch(out)
	if found == nil {
		return "", model.Errorf(model.ErrUnsupported, "%s is no program of Firecracker's: it says %.80q for its version", path, out)
	}
	return string(found[1]), nil
}
