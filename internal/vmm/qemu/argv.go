package qemu

import (
	"encoding/json"
	"fmt"
	"strings"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/vmm"
)

// Names of the sockets in a VM's directory.
const (
	socketQMP     = "qmp.sock"
	socketConsole = "console.sock"
	socketData    = "agent.sock"
	socketControl = "agent-control.sock"
)

// sockets are handed to QEMU in this order, from descriptor firstSocket on.
var sockets = []string{socketQMP, socketConsole, socketData, socketControl}

const firstSocket = 3

// guestHZ is the timer frequency of the distributions' kernels (CONFIG_HZ), of which loops per jiffy are counted.
const guestHZ = 250

// Argv returns QEMU's arguments for c, its own name first. It asks nothing of the host. ErrInvalid names a field that
// cannot be passed on.
func Argv(c vmm.Config, kvm bool, tscKHz int64) ([]string, error) {
	if err := check(c); err != nil {
		return nil, err
	}
	accel, cpu := []string{"-accel", "tcg,thread=multi"}, "max"
	if kvm {
		accel, cpu = []string{"-accel", "kvm"}, "host"
	}
	argv := []string{
		program,
		"-nodefaults", "-no-user-config",
		"-name", "guest=" + string(c.ID),
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		// With ACPI a stock kernel finds the virtio devices by itself. The timer (PIT), the clock (RTC) and the interrupt
		// controller (PIC) stay on: without them the boot hangs under emulation.
		"-M", "microvm,acpi=on",
	}
	argv = append(argv, accel...)
	argv = append(argv,
		"-cpu", cpu, "-smp", fmt.Sprint(c.VCPUs), "-m", fmt.Sprintf("%dK", c.MemoryBytes/model.KiB),
		"-display", "none", "-no-reboot", "-S",
		"-kernel", c.Kernel, "-initrd", c.Initrd,
		"-append", strings.Join(append(cmdline(kvm, tscKHz), c.Cmdline...), " "),
	)
	for i, name := range []string{"qmp", "console", "data", "control"} {
		argv = append(argv, "-chardev", fmt.Sprintf("socket,id=%s,fd=%d,server=on,wait=off", name, firstSocket+i))
	}
	argv = append(argv,
		"-mon", "chardev=qmp,mode=control",
		"-device", "isa-serial,chardev=console",
		"-device", "virtio-serial-device",
		"-device", "virtserialport,chardev=data,name=banger.data",
		"-device", "virtserialport,chardev=control,name=banger.control",
		"-object", "rng-random,id=entropy,filename=/dev/urandom",
		"-device", "virtio-rng-device,rng=entropy",
	)
	for i, d := range c.Drives {
		node, err := blockdev(fmt.Sprintf("drive%d", i), d)
		if err != nil {
			return nil, err
		}
		argv = append(argv, "-blockdev", node, "-device", fmt.Sprintf("virtio-blk-device,drive=drive%d,serial=%s", i, d.Serial))
	}
	return append(argv, netdev(c.Link)...), nil
}

// cmdline are the kernel's parameters. Under emulation each of the second half is there for a measured reason.
func cmdline(kvm bool, tscKHz int64) []string {
	params := []string{
		"console=ttyS0", "quiet", "reboot=t", "panic=-1", // a panic ends the VM at once
		"random.trust_cpu=on",
		"cryptomgr.notests",                                                             // its self-tests are a fifth of an emulated boot
		"8250.nr_uarts=1", "i8042.noaux", "i8042.nokbd", "i8042.nopnp", "i8042.dumbkbd", // devices that are not there
	}
	if kvm {
		return params
	}
	return append(params,
		// The calibrations against the timer fail when the emulating thread is preempted, and the boot hangs then.
		fmt.Sprintf("tsc_early_khz=%d", tscKHz), fmt.Sprintf("lpj=%d", tscKHz*1000/guestHZ),
		"tsc=reliable",                    // no watchdog of the clock that was just given
		"no_timer_check", "noreplace-smp", // both wait for, or patch, what emulation makes slow
		"mitigations=off", // emulation does not speculate
	)
}

// blockdev writes a drive as QEMU's JSON. Formats are explicit all the way down, so that no image can choose its own.
func blockdev(name string, d model.Drive) (string, error) {
	file := func(path string, readOnly bool) map[string]any {
		return map[string]any{"driver": "file", "filename": path, "read-only": readOnly}
	}
	node := map[string]any{
		"node-name": name, "driver": d.Format, "read-only": d.ReadOnly, "file": file(d.Path, d.ReadOnly),
		"discard": "unmap",
	}
	switch {
	case d.Format == "raw" && d.Backing == "":
	case d.Format == "qcow2" && d.Backing != "":
		node["backing"] = map[string]any{"driver": "raw", "read-only": true, "file": file(d.Backing, true)}
	default:
		return "", model.Errorf(model.ErrInvalid, "cannot attach %s: format %q with backing %q is not supported", d.Path, d.Format, d.Backing)
	}
	text, err := json.Marshal(node)
	return string(text), err
}

func netdev(l network.Link) []string {
	if l.Kind == network.LinkNone {
		return nil
	}
	return []string{
		"-netdev", "stream,id=net,server=on,addr.type=unix,addr.path=" + commas(l.Socket),
		"-device", "virtio-net-device,netdev=net,mac=" + l.MAC.String(),
	}
}

// commas doubles the commas of a value, as QEMU's option syntax wants it.
func commas(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// check refuses what could change the meaning of an argument.
func check(c vmm.Config) error {
	if !c.ID.Valid() || c.VCPUs < 1 || c.MemoryBytes < model.MiB {
		return model.Errorf(model.ErrInvalid, "cannot start a VM with id %q, %d vCPUs, %d bytes of memory", c.ID, c.VCPUs, c.MemoryBytes)
	}
	fields := append([]string{c.Kernel, c.Initrd, c.Link.Socket}, c.Cmdline...)
	for _, d := range c.Drives {
		fields = append(fields, d.Path, d.Backing)
		if len(d.Serial) == 0 || len(d.Serial) > 20 || strings.Trim(d.Serial, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return model.Errorf(model.ErrInvalid, "cannot attach %q: its serial %q is not 1 to 20 of a-z, 0-9 and -", d.Path, d.Serial)
		}
	}
	for _, f := range fields {
		if strings.ContainsAny(f, "\x00\n") {
			return model.Errorf(model.ErrInvalid, "cannot pass %q to QEMU: it holds a newline or NUL", f)
		}
	}
	for _, p := range c.Cmdline {
		if strings.ContainsAny(p, " \t") {
			return model.Errorf(model.ErrInvalid, "cannot pass the kernel parameter %q: it holds a space", p)
		}
	}
	if c.Link.Kind == network.LinkTap {
		return model.Errorf(model.ErrUnsupported, "this driver does not attach taps")
	}
	return nil
}
