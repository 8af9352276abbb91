package vmm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// Validate refuses, as ErrInvalid, what no VMM shall be given. Whether a driver can attach c's link and formats is its own
// business.
func (c Config) Validate() error {
	if !c.ID.Valid() {
		return model.Errorf(model.ErrInvalid, "%q is not a VM's id", c.ID)
	}
	if c.VCPUs < 1 || c.VCPUs > model.MaxVCPUs {
		return model.Errorf(model.ErrInvalid, "cannot give a VM %d vCPUs", c.VCPUs)
	}
	if c.MemoryBytes < model.MinMemoryBytes || c.MemoryBytes > model.MaxMemoryBytes {
		return model.Errorf(model.ErrInvalid, "cannot give a VM %d bytes of memory", c.MemoryBytes)
	}
	paths := []string{c.Kernel, c.Initrd}
	serials := map[string]bool{}
	for _, d := range c.Drives {
		paths = append(paths, d.Path)
		switch {
		case d.Format == "qcow2" && d.Backing != "":
			paths = append(paths, d.Backing)
		case d.Format == "raw" && d.Backing == "":
		default:
			return model.Errorf(model.ErrInvalid, "cannot attach %q: format %q with backing file %q", d.Path, d.Format, d.Backing)
		}
		if len(d.Serial) > 20 || d.Serial == "" || strings.Trim(d.Serial, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || serials[d.Serial] {
			return model.Errorf(model.ErrInvalid, "cannot attach a drive with the serial %q", d.Serial)
		}
		serials[d.Serial] = true
	}
	for _, p := range paths {
		if !filepath.IsAbs(p) || !utf8.ValidString(p) || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return model.Errorf(model.ErrInvalid, "cannot give a VMM the path %q: it must be absolute and UTF-8, without control characters", p)
		}
	}
	return nil
}

// Readable makes the most likely faults of a start errors of their own kind, before a VMM words them.
func (c Config) Readable() error {
	paths := map[string]string{c.Kernel: "kernel", c.Initrd: "initramfs"}
	for _, d := range c.Drives {
		paths[d.Path] = d.Serial + " disk"
		if d.Backing != "" {
			paths[d.Backing] = "image below its " + d.Serial + " disk"
		}
	}
	for path, what := range paths {
		// Nonblocking: a FIFO in a disk's place must not hang the start.
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		switch {
		case err == nil:
			f.Close()
		case errors.Is(err, fs.ErrNotExist):
			return model.Errorf(model.ErrNotFound, "cannot start the VM: its %s is missing: %w", what, err)
		case errors.Is(err, fs.ErrPermission):
			return model.Errorf(model.ErrDenied, "cannot start the VM: its %s cannot be read: %w", what, err)
		default:
			return fmt.Errorf("cannot start the VM: its %s cannot be read: %w", what, err)
		}
	}
	if c.Lock == nil {
		return model.Errorf(model.ErrInvalid, "cannot start the VM: it was given no lock to hold")
	}
	return nil
}

// maxCmdline is what the kernel takes on x86 (COMMAND_LINE_SIZE), less its closing NUL.
const maxCmdline = 2047

// CommandLine is the guest kernel's: what every guest is told, what the VMM's machine needs, and c's own. Each parameter
// of the first is here for a reason that was measured with Debian 12's cloud kernel under QEMU's emulation; what made no
// difference was left out.
func (c Config) CommandLine(machine ...string) (string, error) {
	words := append([]string{
		// Panics and what is worse still reach a console; at full length the messages take a fifth of the boot.
		"quiet",
		// A panic reboots at once by a triple fault, which is the end of the VM.
		"panic=-1", "reboot=t",
		"cryptomgr.notests", // 0.78 of the boot
		"no_timer_check",    // with the next 0.89 of it; and the check fails when a vCPU is preempted
		"noreplace-smp",
		// The generator is ready at once, instead of when enough has happened. Configure adds the host's entropy.
		"random.trust_cpu=on",
	}, machine...)
	for _, w := range c.Cmdline {
		if w == "" || strings.ContainsFunc(w, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' }) {
			return "", model.Errorf(model.ErrInvalid, "cannot give the kernel the parameter %q", w)
		}
		words = append(words, w)
	}
	line := strings.Join(words, " ")
	if len(line) > maxCmdline {
		return "", model.Errorf(model.ErrInvalid, "cannot give the kernel %d bytes of parameters: it takes %d", len(line), maxCmdline)
	}
	return line, nil
}
