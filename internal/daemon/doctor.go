package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"banger/internal/dirs"
	"banger/internal/doctor"
	"banger/internal/helper/netcall"
	"banger/internal/helper/storagecall"
	"banger/internal/helper/wire"
	"banger/internal/image"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/store"
	"banger/internal/version"
	"banger/internal/vm"
)

// DoctorConfig is what Doctor needs to be told.
type DoctorConfig struct {
	Dirs     dirs.Dirs
	Drivers  func(Host) Drivers
	Programs []string          // that lie beside this one
	Client   string            // the version of the banger that asks; "" for none
	Verify   bool              // read every byte of the images and kernels
	Leaks    bool              // look for what no VM accounts for
	Progress func(line string) // hears what takes long
}

// Doctor says whether VMs can run on this host and, when asked to, what of this installation is left on it. It works
// whatever keeps a daemon from starting, also beside one that runs, and changes nothing.
func Doctor(ctx context.Context, c DoctorConfig) model.Diagnosis {
	defaults, err := loadDefaults(c.Dirs.ConfigFile())
	if err == nil {
		_, err = loadLimits(c.Dirs.ConfigFile())
	}
	instance, _ := c.Dirs.FindInstance() // none before the first daemon; one that cannot be read is told of below
	drivers := c.Drivers(Host{Dirs: c.Dirs, Instance: instance, Log: slog.New(slog.DiscardHandler), ReadOnly: true})
	rootDisk, carrier := "", ""
	if err == nil {
		rootDisk, err = loadRootDisk(c.Dirs.ConfigFile(), drivers.RootDisks)
	}
	if err == nil {
		carrier, err = loadNetwork(c.Dirs.ConfigFile(), drivers.Networks)
	}
	config := model.CheckOf("config", err, configDetail(c.Dirs))
	if drivers.Close != nil {
		defer drivers.Close() //nolint:errcheck // nothing was opened
	}
	rows, database := readRows(ctx, c.Dirs)
	if rows != nil {
		defer rows.Close()
	}

	d := model.Diagnosis{Version: version.Version}
	d.Checks = append(d.Checks, doctor.Host(defaults.MemoryBytes)...)
	d.Checks = append(d.Checks, doctor.Privileges(), doctor.Helper(ctx, wire.Socket(storagecall.Service), wire.Socket(netcall.Service)), doctor.Namespaces(), doctor.Programs(ctx, c.Client, c.Programs...))
	d.Checks = append(d.Checks, doctor.Directories(c.Dirs)...)
	d.Checks = append(d.Checks, config, database)
	d.Checks = append(d.Checks, doctor.Choice(choose(ctx, c.Dirs, drivers, defaults, rootDisk, carrier))...)
	d.Checks = append(d.Checks, doctor.Drivers(ctx, drivers.all()...)...)
	d.Checks = append(d.Checks, checkImages(ctx, c, rows, defaults)...)
	if c.Leaks {
		d.Leaks = []model.Leak{}
		found, err := leaks(ctx, c.Dirs, drivers)
		if err != nil {
			d.Checks = append(d.Checks, model.CheckOf("leaks", err, ""))
		}
		d.Leaks = append(d.Leaks, found...)
	}
	return d
}

func configDetail(d dirs.Dirs) string {
	if _, err := os.Lstat(d.ConfigFile()); errors.Is(err, fs.ErrNotExist) {
		return "there is no " + d.ConfigFile() + ", which is fine"
	}
	return d.ConfigFile() + " says what banger knows"
}

// all are the drivers of every kind.
func (d Drivers) all() []any {
	var all []any
	for _, v := range d.VMMs {
		all = append(all, v)
	}
	for _, r := range d.RootDisks {
		all = append(all, r)
	}
	for _, n := range d.Networks {
		all = append(all, n)
	}
	return all
}

// choose asks the VM service for what new VMs get.
func choose(ctx context.Context, d dirs.Dirs, drivers Drivers, defaults model.Spec, rootDisk, carrier string) (vm.Choice, error) {
	vms := vm.New(vm.Options{
		Dirs: d, VMMs: drivers.VMMs, RootDisks: drivers.RootDisks, Networks: drivers.Networks,
		Defaults: defaults, RootDisk: rootDisk, Network: carrier, Log: slog.New(slog.DiscardHandler),
	})
	defer vms.Close()
	return vms.Default(ctx)
}

// readRows opens the database, nil when there is none or when it cannot be read. One that others could have put there is
// not opened.
func readRows(ctx context.Context, d dirs.Dirs) (*store.Store, model.Check) {
	const name = "database"
	err := d.CheckState()
	if err == nil {
		var rows *store.Store
		if rows, err = store.OpenReadOnly(ctx, d.Database()); err == nil {
			vms, err := rows.VMs(ctx)
			return rows, model.CheckOf(name, err, fmt.Sprintf("%s is whole and has %d VMs", d.Database(), len(vms)))
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, model.ErrNotFound):
		return nil, model.Check{Name: name, Status: model.CheckOK, Detail: "there is none yet; the first command makes it"}
	case errors.Is(err, model.ErrState):
		return nil, model.CheckOf(name, err, "").AtMost(model.CheckWarning)
	case d.CheckState() != nil:
		return nil, model.Check{Name: name, Status: model.CheckWarning, Detail: "it was not looked at: the state directory is not yours alone"}
	}
	return nil, model.CheckOf(name, err, "")
}

func checkImages(ctx context.Context, c DoctorConfig, rows *store.Store, defaults model.Spec) []model.Check {
	o := image.Options{
		Dirs: image.Dirs{Data: c.Dirs.Data, Cache: c.Dirs.Cache}, Tools: image.HostTools(), Log: slog.New(slog.DiscardHandler),
	}
	if rows != nil {
		o.Catalog = rows
	}
	return image.New(o).Check(ctx, image.CheckOptions{
		Image: defaults.Image, Kernel: defaults.Kernel, Verify: c.Verify, Progress: c.Progress,
	})
}

// leaks are what the ledger finds twice in a row: a daemon that is at work between a look at its rows and one at the host
// makes nothing a leak.
func leaks(ctx context.Context, d dirs.Dirs, drivers Drivers) ([]model.Leak, error) {
	first, err := look(ctx, d, drivers)
	if err != nil || len(first) == 0 {
		return nil, err
	}
	again, err := look(ctx, d, drivers)
	seen := map[model.Leak]bool{}
	for _, l := range first {
		seen[model.Leak{Kind: l.Kind, What: l.What}] = true
	}
	var found []model.Leak
	for _, l := range again {
		if seen[model.Leak{Kind: l.Kind, What: l.What}] {
			found = append(found, l)
		}
	}
	return found, err
}

// look opens the database anew: what was read before is remembered by who read it.
func look(ctx context.Context, d dirs.Dirs, drivers Drivers) ([]model.Leak, error) {
	rows, check := readRows(ctx, d)
	var r doctor.Rows
	switch {
	case rows != nil:
		defer rows.Close()
		var err error
		if r, err = promised(ctx, d, rows); err != nil {
			return nil, err
		}
	case check.Status != model.CheckOK:
		return nil, model.Errorf(model.ErrState, "cannot tell what leaked without a database that can be read")
	}
	return doctor.Ledger(ctx, d, r, drivers.all()...)
}

// promised is what the database promises. Its operations run only while a daemon does.
func promised(ctx context.Context, d dirs.Dirs, rows *store.Store) (r doctor.Rows, err error) {
	var errs [6]error
	r.Instance, errs[0] = d.FindInstance()
	r.VMs, errs[1] = rows.VMs(ctx)
	r.Images, errs[2] = rows.Images(ctx)
	r.Kernels, errs[3] = rows.Kernels(ctx)
	daemon, err := procs.LockHolder(d.Lock())
	if errs[4] = err; daemon != 0 {
		r.Operations, errs[5] = rows.Operations(ctx, true)
	}
	return r, errors.Join(errs[:]...)
}
