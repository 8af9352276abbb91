// Package system installs the privileged helper for one user, as services of systemd.
//
// What it makes is a program, two units for each service and what systemd makes of them, and rules for udev. All of it is
// root's, nobody else can write to it, and Uninstall leaves none of it, nor what the helper made.
package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"banger/internal/companion"
	"banger/internal/helper/hostnet"
	"banger/internal/helper/jail"
	"banger/internal/helper/storage"
	"banger/internal/hosttool"
	"banger/internal/model"
	"banger/internal/udev"
)

// Snapshots is what the helper may have made for ordinary users; see package storage.
type Snapshots interface {
	Foreign(ctx context.Context) ([]storage.Foreign, error)
	Release(ctx context.Context, f storage.Foreign) error
}

// Made is what the helper may have made for ordinary users, of one kind.
type Made interface {
	// InUse counts what a VMM has.
	InUse(ctx context.Context) (int, error)
	// Release takes all of it away.
	Release(ctx context.Context) error
}

// Options are what a System stands on. Tests give others than the host's.
type Options struct {
	Root      string // before every path: "" for the host's own
	UID       int    // who acts
	Getenv    func(name string) string
	Systemctl func(ctx context.Context, args ...string) (output string, err error) // runs systemctl(1)
	Program   func() (path string, err error)                                      // the banger-helper to install
	Hello     func(ctx context.Context, socket string) (version string, err error) // asks the service that listens there
	LookPath  func(name string) (path string, err error)                           // finds a program in PATH
	Version   func(ctx context.Context, path string) (said string, err error)      // asks a program of Firecracker's
	Udev      func(ctx context.Context) error                                      // has it read its rules again
	Snapshots Snapshots
	Networks  Made // see package hostnet
	Jails     Made // see package jail
}

// System is this host's systemd, as far as banger's helper goes.
type System struct{ o Options }

// New returns one that acts on this host. It touches nothing.
func New() *System {
	return With(Options{
		UID: os.Geteuid(), Getenv: os.Getenv, Systemctl: systemctl, Snapshots: storage.Users{}, Networks: hostnet.Users{},
		Jails: jail.Users{}, LookPath: exec.LookPath, Version: askVersion,
		Program: func() (string, error) { return companion.Find(program) },
		Hello:   hello, Udev: udev.Reload,
	})
}

// With is New with other edges.
func With(o Options) *System { return &System{o} }

func (s *System) path(path string) string { return filepath.Join(s.o.Root, path) }

const commandLimit = 2 * time.Minute // for systemd to do a thing, on a host whose every core is busy

// systemctl talks to systemd by its own client: what that says and does has been the same for as long as there are sockets.
func systemctl(ctx context.Context, args ...string) (string, error) {
	path, err := hosttool.Find("systemctl", "systemd")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"--no-ask-password", "--no-pager"}, args...)...)
	cmd.Env = []string{"LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.Join(strings.Fields(complaint.String()), " "))
	}
	return out.String(), nil
}

// ready says whether the helper can be changed here, by a command of that name.
func (s *System) ready(verb string) error {
	if _, err := os.Stat(s.path("/run/systemd/system")); err != nil {
		return model.Errorf(model.ErrUnsupported, "cannot %s banger's helper: this host is not run by systemd; an ordinary user needs no helper, and a bangerd that root runs does its work itself", verb)
	}
	if s.o.UID != 0 {
		return model.Fixable(model.ErrDenied, "sudo banger system "+verb, "cannot %s banger's helper: only root can", verb)
	}
	return nil
}

// installed returns for whom a service is installed; fs.ErrNotExist when it is not.
func (s *System) installed(v service) (owner int, err error) {
	path := s.path(filepath.Join(unitDir, v.socketName()))
	unit, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	owner, ours := ownerIn(string(unit))
	if !ours {
		return 0, model.Errorf(model.ErrCorrupt, "cannot tell for whom %s was installed; run: sudo banger system uninstall", path)
	}
	return owner, nil
}

// owner returns for whom the helper is installed, whole or not; fs.ErrNotExist when nothing is.
func (s *System) owner() (int, error) {
	for _, v := range services() {
		if owner, err := s.installed(v); !errors.Is(err, fs.ErrNotExist) {
			return owner, err
		}
	}
	return 0, fs.ErrNotExist
}
