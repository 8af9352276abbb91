package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"banger/internal/atomicfile"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/procs"
	"banger/internal/vmm"
)

const (
	program      = "qemu-system-x86_64"
	probeTimeout = 10 * time.Second // for QEMU to say its version
)

var (
	minVersion     = [2]int{7, 2} // the first with -netdev stream
	versionPattern = regexp.MustCompile(`^QEMU emulator version ((\d{1,4})\.(\d{1,4})[0-9A-Za-z.+~-]{0,60})`)
)

// probe is what was found out of a host and is kept in a file: the version for as long as the program is the same file,
// the rest for one boot.
type probe struct {
	Binary  string    `json:"binary"`
	Size    int64     `json:"size"`
	ModTime time.Time `json:"mod_time"`
	Version string    `json:"version"`
	Major   int       `json:"major"`
	Minor   int       `json:"minor"`

	Boot     string `json:"boot"`
	TSCKHz   int    `json:"tsc_khz"`
	KVMTried bool   `json:"kvm_tried"`
	KVM      string `json:"kvm"` // why it is of no use; "" when it is
}

// Features tells what QEMU can do here. What is cached is checked against the program's file and the boot, so that
// a QEMU installed meanwhile is seen; only whether /dev/kvm may be opened is asked each time.
func (d *Driver) Features(ctx context.Context) vmm.Features {
	f, _ := d.features(ctx)
	return f
}

func (d *Driver) features(ctx context.Context) (vmm.Features, Host) {
	f := vmm.Features{
		Links:   []network.LinkKind{network.LinkNone, network.LinkSocket},
		Formats: []string{"raw", "qcow2"},
		Console: true,
	}
	d.probing.Lock()
	defer d.probing.Unlock()
	p, err := d.probe(ctx)
	if err != nil {
		f.Problem = err.Error()
		return f, Host{}
	}
	f.Version = p.Version
	if p.Major < minVersion[0] || p.Major == minVersion[0] && p.Minor < minVersion[1] {
		f.Problem = fmt.Sprintf("QEMU %s is too old: at least %d.%d is needed; install it: sudo apt-get install qemu-system-x86", p.Version, minVersion[0], minVersion[1])
		return f, Host{}
	}
	f.Accel = "kvm"
	reason := openKVM()
	if reason == "" {
		reason = p.KVM
	}
	if reason != "" {
		f.Accel = "tcg"
		f.Slow = reason + ": the VM's processor is emulated, some ten times slower"
	}
	return f, Host{Binary: p.Binary, Accel: f.Accel, TSCKHz: p.TSCKHz}
}

// probe returns what is known, finding out what is not. Its error is a line for the user.
func (d *Driver) probe(ctx context.Context) (probe, error) {
	binary, info, err := d.find()
	if err != nil {
		return probe{}, err
	}
	p := d.load()
	before := p
	if p.Binary != binary || p.Size != info.Size() || !p.ModTime.Equal(info.ModTime()) {
		p.Binary, p.Size, p.ModTime = binary, info.Size(), info.ModTime()
		if p.Version, p.Major, p.Minor, err = version(ctx, binary); err != nil {
			return probe{}, err
		}
	}
	boot, err := procs.BootID()
	if err != nil {
		return probe{}, err
	}
	if p.Boot != boot || p.TSCKHz <= 0 {
		p.Boot, p.TSCKHz, p.KVMTried, p.KVM = boot, MeasureTSC(), false, ""
	}
	if !p.KVMTried && openKVM() == "" {
		p.KVMTried, p.KVM = true, tryKVM()
	}
	if p != before {
		d.save(p)
	}
	return p, nil
}

func (d *Driver) find() (string, os.FileInfo, error) {
	binary := d.options.Binary
	if binary == "" {
		found, err := exec.LookPath(program)
		if err != nil {
			return "", nil, model.Errorf(model.ErrUnsupported, "QEMU is not installed; install it: sudo apt-get install qemu-system-x86")
		}
		binary = found
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		return "", nil, err
	}
	info, err := os.Stat(binary)
	if err != nil {
		return "", nil, model.Errorf(model.ErrUnsupported, "cannot use %s: %w", binary, err)
	}
	return binary, info, nil
}

// version asks the program.
func version(ctx context.Context, binary string) (text string, major, minor int, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return "", 0, 0, model.Errorf(model.ErrUnsupported, "cannot ask %s for its version: %w", binary, err)
	}
	m := versionPattern.FindSubmatch(out[:min(len(out), 1000)])
	if m == nil {
		return "", 0, 0, model.Errorf(model.ErrUnsupported, "%s is not QEMU: it says %q for its version", binary, out[:min(len(out), 80)])
	}
	major, _ = strconv.Atoi(string(m[2])) // the pattern lets only short numbers through
	minor, _ = strconv.Atoi(string(m[3]))
	return string(m[1]), major, minor, nil
}

func (d *Driver) cacheFile() string { return filepath.Join(d.options.Cache, "qemu.json") }

// load returns what was kept; a file that is missing or not whole is the same as an empty one.
func (d *Driver) load() (p probe) {
	if d.options.Cache == "" {
		return p
	}
	raw, err := os.ReadFile(d.cacheFile())
	if err != nil || json.Unmarshal(raw, &p) != nil {
		return probe{}
	}
	return p
}

// save keeps p. That it cannot be kept costs time, not correctness.
func (d *Driver) save(p probe) {
	if d.options.Cache == "" {
		return
	}
	raw, err := json.Marshal(p)
	if err == nil {
		err = errors.Join(os.MkdirAll(d.options.Cache, 0o700), atomicfile.Write(d.cacheFile(), raw, 0o600))
	}
	if err != nil {
		d.options.Log.Warn("cannot keep what was probed of QEMU", "error", err)
	}
}
