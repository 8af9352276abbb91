package firecracker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/helper/jail"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/vmm"
	"banger/internal/vmm/process"
)

// A guest's kernel and initramfs, which are there while it starts: see stock.
const (
	fileKernel = "kernel"
	fileInitrd = "initrd"
)

// inside is c as a VMM in a jail sees it.
func inside(c vmm.Config) vmm.Config {
	c.Kernel, c.Initrd = filepath.Join(jail.Inside, fileKernel), filepath.Join(jail.Inside, fileInitrd)
	if c.Link.Kind != network.LinkNone {
		c.Link.Tap = jail.Tap
	}
	c.Drives = slices.Clone(c.Drives)
	for n := range c.Drives {
		c.Drives[n].Path = jail.DrivePath(n)
	}
	return c
}

// runJailed is run in a jail.
func (d *Driver) runJailed(ctx context.Context, c vmm.Config, requests []request) (_ *machine, err error) {
	defer d.stock.trim(stocked)
	m := newMachine(c.Dir, d.options.Log.With("vm", string(c.ID)))
	if err := d.spawnJailed(ctx, m, c); err != nil { // what runs by then ends with the jail
		return nil, errors.Join(err, m.Close())
	}
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer watcher.Close()
		err = watcher.Add(m.sockets)
	}
	if err == nil {
		err = m.instruct(ctx, watcher, requests)
	}
	if err == nil {
		err = m.withdraw()
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
		defer cancel()
		return nil, errors.Join(err, m.Kill(ctx), m.Close())
	}
	return m, nil
}

// spawnJailed starts the process, which waits for instructions.
func (d *Driver) spawnJailed(ctx context.Context, m *machine, c vmm.Config) error {
	uid, err := d.options.Jail.UID(c.Slot)
	if err != nil {
		return fmt.Errorf("cannot start the VM: %w", err)
	}
	spec := jail.Spec{Slot: c.Slot, VCPUs: c.VCPUs, MemoryBytes: c.MemoryBytes, Network: jailNetworks[c.Link.Kind]}
	defer func() {
		for _, drive := range spec.Drives {
			if drive.File != nil {
				drive.File.Close()
			}
		}
	}()
	for _, drive := range c.Drives {
		file, err := openDrive(drive)
		if err != nil {
			return fmt.Errorf("cannot start the VM: %w", err)
		}
		spec.Drives = append(spec.Drives, jail.Drive{File: file, ReadOnly: drive.ReadOnly})
	}
	output, ours, err := makeFIFO(filepath.Join(c.Dir, fifoLog), 0o600)
	if err != nil {
		return fmt.Errorf("cannot start the VM: %w", err)
	}
	defer output.Close()
	m.log, m.heardAll = process.NewTail(ours), true
	crash.At("firecracker.jail.before")
	vm, err := d.options.Jail.Start(ctx, c.ID, spec, c.Lock, output)
	if err != nil {
		output.Close()
		<-m.log.Ended()
		if words := lastWords(m.log.Text()); words != "" {
			err = fmt.Errorf("%w; it says: %s", err, words)
		}
		return fmt.Errorf("cannot start the VM: %w", err)
	}
	crash.At("firecracker.jail.after")
	m.imprison(d.options.Jail, c.ID, vm.Cgroup, uid)
	if err := d.supply(ctx, m, c); err != nil {
		return err
	}
	return m.watchJailed(d.options.Jail, c.ID, vm.PID)
}

// openDrive opens a drive's file as the guest will use it; a block device, which is the VM's snapshot, is not opened.
func openDrive(d model.Drive) (*os.File, error) {
	if info, err := os.Stat(d.Path); err != nil || info.Mode()&os.ModeDevice != 0 {
		return nil, err
	}
	access := os.O_RDWR
	if d.ReadOnly {
		access = os.O_RDONLY
	}
	return os.OpenFile(d.Path, access|unix.O_NONBLOCK, 0) // a FIFO in a disk's place must not hang the start
}

// supply puts what the VMM needs into the directory that it shares with its owner.
func (d *Driver) supply(ctx context.Context, m *machine, c vmm.Config) error {
	for name, from := range map[string]string{fileKernel: c.Kernel, fileInitrd: c.Initrd} {
		if err := d.stock.put(ctx, from, filepath.Join(m.sockets, name)); err != nil {
			return fmt.Errorf("cannot start the VM: %w", err)
		}
	}
	if !d.options.Console {
		return nil
	}
	return m.openConsole(0o666) // nobody else can enter the directory
}

// withdraw takes out of that directory what the guest has been started from.
func (m *machine) withdraw() error {
	crash.At("firecracker.withdraw.before")
	errs := []error{os.Remove(filepath.Join(m.sockets, fileKernel))}
	crash.At("firecracker.withdraw.kernel")
	errs = append(errs, os.Remove(filepath.Join(m.sockets, fileInitrd)))
	crash.At("firecracker.withdraw.after")
	return errors.Join(errs...)
}
