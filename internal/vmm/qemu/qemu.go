package qemu

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/vmm"
)

// program is the QEMU binary of the one architecture that banger runs on.
const program = "qemu-system-x86_64"

// installHint is what helps when it is missing.
const installHint = "install it: sudo apt-get install --no-install-recommends qemu-system-x86"

// Options are what a Driver is made of.
type Options struct {
	Binary string // "" searches PATH
	Cache  string // directory for what was found out about this host
	Log    *slog.Logger
}

// Driver is QEMU. It implements vmm.Driver.
type Driver struct {
	Options

	mu    sync.Mutex
	found *host
}

var _ vmm.Driver = (*Driver)(nil)

// host is what the driver found out about this host.
type host struct {
	binary  string
	version string
	problem string // why QEMU cannot run here
	noKVM   string // why KVM is not used; "" when it is
	tscKHz  int64  // frequency of the host's time stamp counter
}

// New returns a Driver. It touches nothing.
func New(o Options) *Driver { return &Driver{Options: o} }

// Name implements vmm.Driver.
func (*Driver) Name() string { return "qemu" }

// Features implements vmm.Driver. The first call asks the host and remembers; a problem is asked about again, since the
// user may have solved it.
func (d *Driver) Features(ctx context.Context) vmm.Features {
	h := d.host(ctx)
	f := vmm.Features{
		Version: h.version, Problem: h.problem, Accel: "kvm", Console: true,
		Links: []network.LinkKind{network.LinkNone, network.LinkSocket}, Formats: []string{"raw", "qcow2"},
	}
	if h.noKVM != "" {
		f.Accel = "tcg"
		f.Slow = "this VM is emulated in software and slow: " + h.noKVM
	}
	return f
}

func (d *Driver) host(ctx context.Context) host {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.found != nil {
		return *d.found
	}
	h := d.probe(ctx)
	if h.problem == "" {
		d.found = &h
	}
	return h
}

func (d *Driver) probe(ctx context.Context) host {
	binary, err := d.binary()
	if err != nil {
		return host{problem: "QEMU (" + program + ") is not installed; " + installHint}
	}
	known := loadFindings(d.Cache, binary)
	if known == nil {
		known = &findings{}
		if known.Version, err = askVersion(ctx, binary); err != nil {
			return host{binary: binary, problem: err.Error()}
		}
		known.NoKVM = probeKVM()
		known.TSCKHz = measureTSC()
		if err := known.save(d.Cache, binary); err != nil {
			d.Log.Warn("cannot remember what was found out about QEMU", "error", err)
		}
	}
	h := host{binary: binary, version: known.Version, noKVM: known.NoKVM, tscKHz: known.TSCKHz}
	if !atLeast(known.Version, minVersion) {
		h.problem = "QEMU " + known.Version + " is too old, " + minVersion + " is needed; " + installHint
	}
	return h
}

func (d *Driver) binary() (string, error) {
	if d.Binary != "" {
		return d.Binary, nil
	}
	path, err := exec.LookPath(program)
	if errors.Is(err, exec.ErrDot) {
		err = nil
	}
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// Remove implements vmm.Driver: only sockets are left of a dead QEMU.
func (*Driver) Remove(_ context.Context, _ model.VMID, dir string, _ model.Handles) error {
	var errs []error
	for _, name := range sockets {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Sweep implements vmm.Driver: QEMU has nothing outside the VMs' directories.
func (*Driver) Sweep(context.Context, map[model.VMID]bool) error { return nil }
