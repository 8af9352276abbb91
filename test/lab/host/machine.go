package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/hosttool"
	"banger/internal/image"
	"banger/internal/vmm/qemu"
	"banger/test/lab/wire"
)

// files are what a lab is made of. It writes to none of them.
type files struct {
	system  string // directory that image.BuildSystem made
	initrd  string
	payload string
	images  string // "" for none
	scratch string // directory for what it writes to its disks, which is thrown away
}

// machine is one run of QEMU.
type machine struct {
	console *console
	wire    net.Conn
	tty     net.Conn
	done    chan struct{} // closed when QEMU has ended
	err     error         // why, after done
	cmd     *exec.Cmd
}

// startMachine starts the lab. It must be called on the first thread, with whose end the machine ends.
func startMachine(ctx context.Context, f files, log io.Writer) (*machine, error) {
	program, err := hosttool.Find("qemu-system-x86_64", "qemu-system-x86")
	if err != nil {
		return nil, err
	}
	m := &machine{done: make(chan struct{})}
	m.cmd = exec.Command(program, arguments(f)...)
	m.cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TMPDIR=" + f.scratch}
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	var serial net.Conn
	for _, conn := range []*net.Conn{&serial, &m.wire, &m.tty} {
		ours, theirs, err := socketPair()
		if err != nil {
			return nil, err
		}
		defer theirs.Close()
		m.cmd.ExtraFiles = append(m.cmd.ExtraFiles, theirs)
		*conn = ours
	}
	complaint := &strings.Builder{}
	m.cmd.Stderr = complaint
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the lab: %w", err)
	}
	m.console = readConsole(serial, log)
	go func() {
		_ = m.cmd.Wait() // how it ended is in its state
		m.err = fmt.Errorf("QEMU has ended (%s): %s", m.cmd.ProcessState, complaint.String())
		close(m.done)
	}()
	context.AfterFunc(ctx, m.kill)
	return m, nil
}

// kill ends the machine at once. What it wrote is thrown away anyhow.
func (m *machine) kill() { _ = m.cmd.Process.Kill() }

// cpu is the processor's time that the machine has used. It tells more than the clock does of a lab on a busy host.
func (m *machine) cpu() time.Duration {
	var ts unix.Timespec
	const sched = 2 // CPUCLOCK_SCHED: of all threads of a process (linux/posix-timers.h)
	if err := unix.ClockGettime(int32(^m.cmd.Process.Pid<<3|sched), &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// stop ends the machine and returns when it is gone.
func (m *machine) stop() {
	m.kill()
	<-m.done
	m.wire.Close()
	m.tty.Close()
	<-m.console.ended
}

// arguments are QEMU's. Descriptors 3 to 5 are the serial console, the wire and the terminal.
//
// One vCPU and four-level page tables: with two or with five, the lab's own kernel froze or panicked twice in some fifty
// boots of nested machines; so, not once in forty.
func arguments(f files) []string {
	a := []string{
		"-name", "banger-lab", "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-M", "q35", "-accel", "tcg", "-cpu", "max,+svm,-la57", "-smp", "1", "-m", "4096",
		"-kernel", filepath.Join(f.system, image.SystemVmlinux), "-initrd", f.initrd, "-append", cmdline(),
		"-chardev", "socket,id=console,fd=3", "-device", "isa-serial,chardev=console",
		"-device", "virtio-serial-pci,id=serial",
		"-chardev", "socket,id=wire,fd=4", "-device", "virtserialport,bus=serial.0,chardev=wire,name=" + wire.Port,
		"-chardev", "socket,id=tty,fd=5", "-device", "virtconsole,bus=serial.0,chardev=tty",
		"-device", "virtio-rng-pci",
	}
	for _, d := range []struct{ file, serial, how string }{
		// A snapshot's changes go to a file without a name in TMPDIR.
		{filepath.Join(f.system, image.SystemRoot), wire.DiskRoot, "snapshot=on"},
		{filepath.Join(f.system, image.SystemModules), wire.DiskModules, "readonly=on"},
		{f.payload, wire.DiskPayload, "readonly=on"},
		{f.images, wire.DiskImages, "snapshot=on"},
	} {
		if d.file != "" {
			a = append(a,
				"-drive", "if=none,format=raw,cache=unsafe,"+d.how+",id="+d.serial+",file="+strings.ReplaceAll(d.file, ",", ",,"),
				"-device", "virtio-blk-pci,drive="+d.serial+",serial="+d.serial)
		}
	}
	return a
}

func cmdline() string {
	return strings.Join(append(qemu.EmulatedClock(qemu.MeasureTSC()),
		"console=ttyS0", "loglevel=5", "panic=0", // a panic stays on the console until it has been read
		"cryptomgr.notests", "no_timer_check", "noreplace-smp", "random.trust_cpu=on", "mitigations=off", "audit=0",
		"systemd.show_status=1", "systemd.unit=multi-user.target", "systemd.wants=lab.service",
	), " ")
}

// socketPair returns a connection and the file for its other end.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "lab"), os.NewFile(uintptr(fds[1]), "lab")
	conn, err := net.FileConn(ours)
	if err := errors.Join(err, ours.Close()); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}
