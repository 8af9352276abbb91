package daemon

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"banger/internal/helper/hostnet"
	"banger/internal/helper/jail"
	"banger/internal/helper/jailcall"
	"banger/internal/helper/netcall"
	"banger/internal/helper/storage"
	"banger/internal/helper/storagecall"
	"banger/internal/helper/wire"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/network/bridge"
	"banger/internal/network/none"
	"banger/internal/network/user"
	"banger/internal/rootdisk"
	"banger/internal/rootdisk/dmsnap"
	"banger/internal/rootdisk/overlay"
	"banger/internal/rootdisk/qcow2"
	"banger/internal/udev"
	"banger/internal/vmm"
	"banger/internal/vmm/firecracker"
	"banger/internal/vmm/kvm"
	"banger/internal/vmm/qemu"
)

// Shipped are the drivers that a released daemon has.
func Shipped(h Host) Drivers {
	probes := filepath.Join(h.Dirs.Cache, "probe")
	speed := kvm.New(kvm.Options{Cache: probes, ReadOnly: h.ReadOnly, Log: h.Log})
	disks, rules := snapshots(h.Instance)
	cells := jails(h.Instance, h.Firecracker.Program, rules)
	packets := user.New(user.Options{Dirs: h.Dirs, Instance: h.Instance, Log: h.Log, Jails: cells})
	kernel := bridge.New(bridge.Options{Log: h.Log, Verbs: ports(h.Instance), Publisher: packets})
	jailed := firecracker.New(firecracker.Options{
		Binary: h.Firecracker.Program, Console: h.Firecracker.Console, Cache: probes, ReadOnly: h.ReadOnly, KVM: speed, Log: h.Log,
		Jail: cells, Unjailed: h.Firecracker.Jail != nil && !*h.Firecracker.Jail,
	})
	return Drivers{
		VMMs: []vmm.Driver{
			jailed,
			qemu.New(qemu.Options{Cache: probes, ReadOnly: h.ReadOnly, KVM: speed, Log: h.Log}),
		},
		RootDisks: []rootdisk.Driver{
			qcow2.New(qcow2.Options{VMs: h.Dirs.VMs(), Log: h.Log}),
			// For any VMM, where root has device-mapper, or a helper that is root.
			dmsnap.New(dmsnap.Options{
				VMs: h.Dirs.VMs(), Log: h.Log, Verbs: disks,
			}),
			// For any VMM, but what a guest sees is not quite an ordinary file system.
			overlay.New(overlay.Options{VMs: h.Dirs.VMs(), Log: h.Log}),
		},
		// Without a network there is not even an interface.
		Networks: []network.Driver{
			none.New(), packets,
			// Where it is asked for, or nothing else goes with the VMM: it changes the host's own network.
			kernel,
		},
		Close: func() error { return errors.Join(jailed.Close(), kernel.Close(), packets.Close(), rules.Close()) },
	}
}

// snapshots are root's own, with the rules that its udev needs for them, or an ordinary user's by the helper.
func snapshots(instance model.InstanceID) (dmsnap.Verbs, *udev.Rules) {
	if os.Geteuid() != 0 {
		return storagecall.New(wire.Socket(storagecall.Service), instance), &udev.Rules{}
	}
	rules := udev.New(instance)
	return storage.New(storage.Options{Instance: instance, UID: 0, GID: os.Getegid(), Udev: rules}), rules
}

// prison is what drivers ask of jails.
type prison interface {
	firecracker.Jail
	user.Jails
}

// jails are root's own, of the programs that it runs itself, or an ordinary user's by the helper, which has its own.
func jails(instance model.InstanceID, program string, rules *udev.Rules) prison {
	if os.Geteuid() != 0 {
		return jailcall.New(wire.Socket(storagecall.Service), instance)
	}
	if program == "" {
		program, _ = exec.LookPath(jail.Firecracker)
	}
	o := jail.Options{Instance: instance, GID: os.Getegid(), Udev: rules}
	if resolved, err := filepath.EvalSymlinks(program); err == nil && filepath.IsAbs(resolved) {
		o.Programs = filepath.Dir(resolved)
	}
	return jail.New(o)
}

// ports are root's own, or an ordinary user's by the helper.
func ports(instance model.InstanceID) bridge.Verbs {
	if os.Geteuid() == 0 {
		return hostnet.New(hostnet.Options{Instance: instance, UID: 0})
	}
	return netcall.New(wire.Socket(netcall.Service), instance)
}

// driverNames are what users call the drivers.
func driverNames[D interface{ Name() string }](drivers []D) []string {
	names := make([]string, len(drivers))
	for i, d := range drivers {
		names[i] = d.Name()
	}
	return names
}
