package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/helper/storage"
	"banger/internal/helper/wire"
	"banger/internal/model"
	"banger/internal/version"
)

// helloLimit is how long a service may take from its first call to its answer.
const helloLimit = time.Minute

// Install installs the helper, or this version of it in place of another, for the user who is named, by name or uid, or
// else called sudo. With it go Firecracker, from where firecracker says or from PATH, and the jailer beside it; without
// either, those that were installed before stay. It returns the uid when every service answers. Machines go on.
func (s *System) Install(ctx context.Context, named, firecracker string) (owner int, err error) {
	if err := s.ready("install"); err != nil {
		return 0, err
	}
	if owner, err = findOwner(named, s.o.Getenv); err != nil {
		return 0, err
	}
	jailed, err := s.findJailed(ctx, firecracker)
	if err != nil {
		return 0, err
	}
	if err := s.install(ctx, owner, jailed); err != nil {
		return owner, err
	}
	crash.At("system.install.after")
	return owner, nil
}

func (s *System) install(ctx context.Context, owner int, jailed []string) error {
	switch other, err := s.owner(); {
	case err == nil && other != owner:
		return model.Fixable(model.ErrExists, "sudo banger system uninstall", "cannot install banger's helper for uid %d: it is installed for uid %d", owner, other)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := s.write(ctx, owner, jailed); err != nil {
		return model.Fixable(kindOf(err), "sudo banger system uninstall", "cannot install banger's helper: %w; some of it may be there, to take it away", err)
	}
	if err := s.start(ctx); err != nil {
		return model.Fixable(kindOf(err), "sudo banger system uninstall", "cannot start banger's helper: %w; see journalctl --unit='banger-*', or take it away", err)
	}
	return nil
}

// kindOf is an error's kind for one that wraps it.
func kindOf(err error) error {
	if kind := model.KindOf(model.HostErrorf(err, "cannot do it")); kind != nil {
		return kind
	}
	return model.ErrUnavailable
}

// write writes every file.
func (s *System) write(ctx context.Context, owner int, jailed []string) error {
	from, err := s.o.Program()
	if err != nil {
		return err
	}
	crash.At("system.install.before")
	if err := s.directory(programDir); err != nil {
		return err
	}
	if err := s.directory(unitDir); err != nil {
		return err
	}
	crash.At("system.install.directory")
	if err := s.writeRules(ctx); err != nil {
		return err
	}
	if err := copyProgram(from, s.path(filepath.Join(programDir, program))); err != nil {
		return err
	}
	crash.At("system.install.program")
	for _, path := range jailed {
		if err := copyProgram(path, s.path(filepath.Join(programDir, filepath.Base(path)))); err != nil {
			return err
		}
		crash.At("system.install.jailed")
	}
	for _, v := range services() {
		files, err := v.units(owner)
		if err != nil {
			return err
		}
		for name, text := range files {
			if err := write(s.path(filepath.Join(unitDir, name)), []byte(text)); err != nil {
				return err
			}
			crash.At("system.install.unit")
		}
	}
	return nil
}

// writeRules has udev, where it runs, keep away from what the helper will make.
func (s *System) writeRules(ctx context.Context) error {
	if _, err := os.Lstat(s.path(storage.UdevControl)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	dir := filepath.Dir(storage.UdevFile)
	for _, path := range []string{filepath.Dir(dir), dir} {
		if err := s.directory(path); err != nil {
			return err
		}
	}
	if err := write(s.path(storage.UdevFile), storage.UdevRules); err != nil {
		return err
	}
	crash.At("system.rules.written")
	if err := s.o.Udev(ctx); err != nil {
		return err
	}
	crash.At("system.rules.told")
	return nil
}

// write writes a file whole, in place of what is there and of what one who was killed has left beside it.
func write(path string, data []byte) error {
	if err := atomicfile.Sweep(path); err != nil {
		return err
	}
	return atomicfile.Write(path, data, 0o644)
}

// directory makes a directory of root's if it is not there, and refuses one, or one above it, that others can change.
func (s *System) directory(path string) error {
	full := s.path(path)
	err := os.Mkdir(full, 0o755)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	fresh := err == nil
	crash.At("system.directory.made")
	for at := path; at != "/"; at = filepath.Dir(at) {
		info, err := os.Stat(s.path(at))
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o002 != 0 {
			return model.Errorf(model.ErrDenied, "what is in %s would run as root, and others can change it: it has to be a directory of root's that nobody else may write to", s.path(at))
		}
	}
	if fresh || path == programDir { // which is ours alone, and made by one who was killed, perhaps
		return os.Chmod(full, 0o755) // whatever the umask took
	}
	return nil
}

// copyProgram copies a program aside and puts it in its place: one that runs goes on with its own.
func copyProgram(from, to string) error {
	source, err := os.OpenFile(from, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer source.Close()
	if info, err := source.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("%s is not a program", from))
	}
	if err := atomicfile.Sweep(to); err != nil { // of one who was killed
		return err
	}
	target, err := atomicfile.Create(to, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		return errors.Join(err, target.Abort())
	}
	crash.At("system.program.written")
	return target.Commit()
}

// start has systemd read the units, listen, and start what was written with the next call.
func (s *System) start(ctx context.Context) error {
	if _, err := s.o.Systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	crash.At("system.install.reloaded")
	sockets := []string{}
	for _, v := range services() {
		sockets = append(sockets, v.socketName())
	}
	if _, err := s.o.Systemctl(ctx, append([]string{"enable", "--quiet"}, sockets...)...); err != nil {
		return err
	}
	crash.At("system.install.enabled")
	return s.renew(ctx)
}

// Restart ends the helper's processes, listens anew and returns when every service answers. Machines go on.
func (s *System) Restart(ctx context.Context) error {
	if err := s.ready("restart"); err != nil {
		return err
	}
	if _, err := s.owner(); errors.Is(err, fs.ErrNotExist) {
		return model.Fixable(model.ErrNotFound, wire.FixInstall, "cannot restart banger's helper: it is not installed")
	}
	if err := s.renew(ctx); err != nil {
		return model.Fixable(kindOf(err), wire.FixInstall, "cannot restart banger's helper: %w; see journalctl --unit='banger-*', or install it again", err)
	}
	return nil
}

// renew ends the services, which end with their sockets, listens again and asks each.
func (s *System) renew(ctx context.Context) error {
	for _, v := range services() {
		// Which have failed too often start again only after this; that none has is no error of ours.
		_, _ = s.o.Systemctl(ctx, "reset-failed", v.serviceName(), v.socketName())
		if _, err := s.o.Systemctl(ctx, "stop", v.serviceName(), v.socketName()); err != nil {
			return err
		}
		crash.At("system.renew.stopped")
		if _, err := s.o.Systemctl(ctx, "start", v.socketName()); err != nil {
			return err
		}
		crash.At("system.renew.started")
	}
	for _, v := range services() {
		if err := s.answers(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// answers says whether a service answers, with this version. That systemd calls it active says less.
func (s *System) answers(ctx context.Context, v service) error {
	ctx, cancel := context.WithTimeout(ctx, helloLimit)
	defer cancel()
	got, err := s.o.Hello(ctx, s.path(wire.Socket(v.name)))
	if err != nil {
		what, _ := model.Remedy(err) // the caller knows a better one
		return model.Errorf(kindOf(err), "%s: %s", v.serviceName(), what)
	}
	if got != version.Version {
		return fmt.Errorf("%s answers with version %s, not %s", v.serviceName(), got, version.Version)
	}
	return nil
}

// hello asks the service that listens at socket for its version.
func hello(ctx context.Context, socket string) (string, error) {
	answer, err := wire.Client{Socket: socket}.Hello(ctx)
	return answer.GetVersion(), err
}
