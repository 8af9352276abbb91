package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/helper/jail"
	"banger/internal/helper/storage"
	"banger/internal/helper/wire"
	"banger/internal/model"
)

// Uninstall takes away everything that Install and the helper have made. That there is nothing is fine. While machines run
// on devices that the helper made it changes nothing, and says so. With purge their disks go when the machines end, and
// their networks at once; those that run in jails are ended, for nobody else could, afterwards.
func (s *System) Uninstall(ctx context.Context, purge bool) error {
	if err := s.ready("uninstall"); err != nil {
		return err
	}
	left, err := s.o.Snapshots.Foreign(ctx)
	if err != nil {
		return model.HostErrorf(err, "cannot tell what banger's helper has made")
	}
	taps, err := s.o.Networks.InUse(ctx)
	if err != nil {
		return model.HostErrorf(err, "cannot tell what banger's helper has made")
	}
	jails, err := s.o.Jails.InUse(ctx)
	if err != nil {
		return model.HostErrorf(err, "cannot tell what banger's helper has made")
	}
	if jails > 0 && !purge {
		return model.Fixable(model.ErrState, "sudo banger system uninstall --purge", "cannot uninstall banger's helper: %d machines run in jails of its making; stop them, with banger vm stop, or have them ended", jails)
	}
	disks := 0
	for _, f := range left {
		if f.InUse {
			disks++
		}
	}
	if disks+taps > 0 && !purge {
		return model.Fixable(model.ErrState, "sudo banger system uninstall --purge", "cannot uninstall banger's helper: machines that run have %d disks and %d network devices of its making; stop them, with banger vm stop, or have the disks go when the machines end, and their networks at once", disks, taps)
	}
	crash.At("system.uninstall.before")
	errs := []error{s.forget(ctx)}
	// After the helper is gone, nobody makes new ones.
	errs = append(errs, s.o.Jails.Release(ctx))
	crash.At("system.uninstall.jails")
	errs = append(errs, s.removeDir(wire.Dir))
	if left, err = s.o.Snapshots.Foreign(ctx); err != nil {
		errs = append(errs, err)
	}
	for _, f := range left {
		errs = append(errs, s.o.Snapshots.Release(ctx, f))
		crash.At("system.uninstall.snapshot")
	}
	errs = append(errs, s.o.Networks.Release(ctx))
	crash.At("system.uninstall.networks")
	errs = append(errs, s.removeRules(ctx))
	if err := errors.Join(errs...); err != nil {
		return model.Fixable(kindOf(err), "sudo banger system uninstall", "cannot take all of banger's helper away: %w; once that is mended", err)
	}
	crash.At("system.uninstall.after")
	return nil
}

// forget has systemd end the services, and removes the files. Every step runs, whatever the others did.
func (s *System) forget(ctx context.Context) error {
	var errs []error
	for _, v := range services() {
		if _, err := s.o.Systemctl(ctx, "disable", "--now", "--quiet", v.socketName()); err != nil && s.exists(v.socketName()) {
			errs = append(errs, err)
		}
		crash.At("system.uninstall.disabled")
		if _, err := s.o.Systemctl(ctx, "stop", v.serviceName()); err != nil && s.exists(v.serviceName()) {
			errs = append(errs, err)
		}
		crash.At("system.uninstall.stopped")
	}
	for _, v := range services() {
		for _, name := range []string{v.socketName(), v.serviceName()} {
			path := s.path(filepath.Join(unitDir, name))
			errs = append(errs, atomicfile.Remove(path), atomicfile.Sweep(path))
			crash.At("system.uninstall.unit")
		}
		errs = append(errs, atomicfile.Remove(s.path(wire.Socket(v.name))))
		crash.At("system.uninstall.socket")
	}
	if _, err := s.o.Systemctl(ctx, "daemon-reload"); err != nil {
		errs = append(errs, err)
	}
	crash.At("system.uninstall.reloaded")
	for _, v := range services() { // one that failed is remembered otherwise; that none is no error
		_, _ = s.o.Systemctl(ctx, "reset-failed", v.serviceName(), v.socketName())
	}
	for _, name := range []string{program, jail.Firecracker, jail.Jailer} {
		path := s.path(filepath.Join(programDir, name))
		errs = append(errs, atomicfile.Remove(path), atomicfile.Sweep(path))
		crash.At("system.uninstall.program")
	}
	for _, dir := range []string{programDir, wire.Dir} {
		errs = append(errs, s.removeDir(dir))
		crash.At("system.uninstall.directory")
	}
	return errors.Join(errs...)
}

// removeRules has udev forget the rules, which nothing needs any more.
func (s *System) removeRules(ctx context.Context) error {
	path := s.path(storage.UdevFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return atomicfile.Sweep(path)
	}
	err := errors.Join(atomicfile.Remove(path), atomicfile.Sweep(path))
	crash.At("system.rules.removed")
	return errors.Join(err, s.o.Udev(ctx))
}

// removeDir removes a directory in which nothing is any more.
func (s *System) removeDir(dir string) error {
	if err := os.Remove(s.path(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("cannot remove %s: %w", dir, err)
	}
	return nil
}

func (s *System) exists(unit string) bool {
	_, err := os.Lstat(s.path(filepath.Join(unitDir, unit)))
	return err == nil
}
