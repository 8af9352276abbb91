package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/vmm"
)

// The descriptors that QEMU inherits beside the standard ones, in the order in which Start passes them.
const (
	fdMonitor = iota + 3
	fdConsole
	fdData
	fdControl
	fdLink // only with a link: a socket, or a tap
)

// Host is what the arguments depend on beside the VM.
type Host struct {
	Binary string
	Accel  string // "kvm" or "tcg"
	TSCKHz int    // of the host's time stamp counter; needed with tcg
}

// Argv returns the arguments that run c, the program's name first. It asks nothing of the host. Descriptors 3 to 6 (7
// with a socket link) are expected to be listening Unix sockets: monitor, console, the agent's data and control port. With
// an open tap 7 is that.
//
// Values that come from outside stand in arguments of their own or in JSON; the comma-separated ones hold only numbers
// and words of this file.
func Argv(c vmm.Config, h Host) ([]string, error) {
	if err := errors.Join(c.Validate(), validateLink(c)); err != nil {
		return nil, err
	}
	cmdline, err := cmdline(c, h)
	if err != nil {
		return nil, err
	}
	a := []string{
		h.Binary,
		"-name", "banger-" + string(c.ID),
		"-nodefaults", "-no-user-config", "-display", "none",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		// acpi: a stock kernel finds virtio-mmio devices by it. Without mem-merge no page of a guest is shared with
		// another's, without dump-guest-core no core dump can hold its memory.
		// rtc: left to itself, QEMU gives a VM on KVM no clock of that kind, and Linux then waits a second for the absent
		// one's update to end (mc146818_avoid_UIP).
		"-M", "microvm,acpi=on,rtc=on,mem-merge=off,dump-guest-core=off",
		"-smp", strconv.Itoa(c.VCPUs),
		"-m", strconv.FormatInt(c.MemoryBytes, 10) + "B",
		"-kernel", c.Kernel, "-initrd", c.Initrd, "-append", cmdline,
		// The first reset ends the VM: a reboot is a reason to stop, for now.
		"-no-reboot",
	}
	a = append(a, accel(h)...)
	// The monitor and the console wait for their reader, which has connected before: nothing is missed.
	a = append(a,
		"-chardev", socket("monitor", fdMonitor, "on"), "-mon", "chardev=monitor,mode=control",
		"-chardev", socket("console", fdConsole, "on"),
		"-chardev", socket("data", fdData, "off"),
		"-chardev", socket("control", fdControl, "off"),
	)
	devices := []object{
		{"driver": "isa-serial", "chardev": "console"},
		{"driver": "virtio-serial-device", "id": "serial", "max_ports": 3},
		{"driver": "virtserialport", "bus": "serial.0", "nr": 1, "chardev": "data", "name": "banger.data"},
		{"driver": "virtserialport", "bus": "serial.0", "nr": 2, "chardev": "control", "name": "banger.control"},
		{"driver": "virtio-rng-device"},
	}
	for i, d := range c.Drives {
		node := "drive" + strconv.Itoa(i)
		a = append(a, "-blockdev", blockdev(d, node).String())
		devices = append(devices, object{
			"driver": "virtio-blk-device", "drive": node, "serial": d.Serial,
			// A full disk is the guest's to see, as on any machine: a VM that QEMU pauses answers nobody.
			"werror": "report", "rerror": "report",
		})
	}
	if c.Link.Kind == network.LinkSocket {
		// QEMU listens, so that the network can be restarted under a running VM.
		a = append(a, "-netdev", object{
			"type": "stream", "id": "net", "server": true,
			"addr": object{"type": "fd", "str": strconv.Itoa(fdLink)},
		}.String())
		devices = append(devices, object{"driver": "virtio-net-device", "netdev": "net", "mac": c.Link.MAC.String()})
	}
	if c.Link.Kind == network.LinkOpenTap {
		a = append(a, "-netdev", object{"type": "tap", "id": "net", "fd": strconv.Itoa(fdLink)}.String())
		devices = append(devices, object{"driver": "virtio-net-device", "netdev": "net", "mac": c.Link.MAC.String()})
	}
	for _, d := range devices {
		a = append(a, "-device", d.String())
	}
	return a, nil
}

// accel chooses the accelerator and the processor.
//
// Under TCG the model is max, so that software built for x86-64-v3 runs, without what costs emulation time on every
// entry to the guest's kernel and protects nothing that emulation does not: SMAP, protection keys, MPX (their state is
// saved at each switch) and five-level page tables. Measured: 0.95 of the CPU time of a boot with plain max. tb-size
// caps the memory that translated code may take, which by default grows to 1 GiB per VM.
//
// All vCPUs run in one thread. With one each (QEMU 7.2's default), a vCPU can go on running translated code of an
// instruction that another one has just patched: Linux patches its own code behind a breakpoint instruction, and a guest
// was seen in an endless loop of breakpoint exceptions (kmem_cache_alloc, asm_exc_int3) as systemd switched static keys.
func accel(h Host) []string {
	if h.Accel == "kvm" {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	return []string{"-accel", "tcg,tb-size=256,thread=single", "-cpu", "max,smap=off,pku=off,mpx=off,la57=off"}
}

func socket(id string, fd int, wait string) string {
	return fmt.Sprintf("socket,id=%s,fd=%d,server=on,wait=%s", id, fd, wait)
}

// blockdev describes a drive with every format said and nothing probed. The host's page cache is used: VMs share their
// base's pages in it, and a flush of the guest is a flush on the host. Threads do the input and output, since io_uring is
// off on many hosts and native aio needs O_DIRECT. Images are locked as QEMU does by itself: a base shared, what is
// written exclusive.
func blockdev(d model.Drive, node string) object {
	disk := object{"driver": d.Format, "node-name": node, "read-only": d.ReadOnly, "file": file(d.Path, d.ReadOnly)}
	if !d.ReadOnly {
		disk["discard"] = "unmap"
	}
	if d.Format == "qcow2" {
		disk["backing"] = object{"driver": "raw", "node-name": node + "-base", "read-only": true, "file": file(d.Backing, true)}
	}
	return disk
}

func file(path string, readOnly bool) object {
	driver := "file"
	if strings.HasPrefix(path, "/dev/") {
		driver = "host_device"
	}
	f := object{"driver": driver, "filename": path, "read-only": readOnly, "locking": "auto", "aio": "threads"}
	if !readOnly {
		f["discard"] = "unmap"
	}
	return f
}

// object is a JSON object; its String has sorted keys.
type object map[string]any

func (o object) String() string {
	raw, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings, numbers and objects of them: cannot be
	}
	return string(raw)
}

func validateLink(c vmm.Config) error {
	switch l := c.Link; {
	case l.Kind == network.LinkNone:
		return nil
	case l.Kind != network.LinkSocket && l.Kind != network.LinkOpenTap:
		return model.Errorf(model.ErrUnsupported, "cannot attach a link of kind %d to QEMU", l.Kind)
	case l.Kind == network.LinkOpenTap && c.Tap == nil:
		return model.Errorf(model.ErrInvalid, "cannot attach the tap %q: it is not open", l.Tap)
	case l.Kind == network.LinkSocket && !filepath.IsAbs(l.Socket):
		return model.Errorf(model.ErrInvalid, "cannot listen on %q: its path must be absolute", l.Socket)
	case len(l.MAC) != 6 || (net.HardwareAddr{0, 0, 0, 0, 0, 0}).String() == l.MAC.String():
		return model.Errorf(model.ErrInvalid, "cannot give a network interface the address %q", l.MAC)
	}
	return nil
}
