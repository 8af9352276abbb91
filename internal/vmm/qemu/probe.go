package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"banger/internal/atomicfile"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/procs"
	"banger/internal/vmm"
	"banger/internal/vmm/process"
)

const (
	program = "qemu-system-x86_64"
	install = "sudo apt-get install qemu-system-x86"
)

var (
	minVersion     = [2]int{7, 2} // the first with -netdev stream
	versionPattern = regexp.MustCompile(`^QEMU emulator version ((\d{1,4})\.(\d{1,4})[0-9A-Za-z.+~-]{0,60})`)
)

// clock is the rate of the host's time stamp counter, kept in a file for one boot.
type clock struct {
	Boot   string `json:"boot"`
	TSCKHz int    `json:"tsc_khz"`
}

// Features tells what QEMU can do here. What is cached is checked against the program's file and the boot, so that
// a QEMU installed meanwhile is seen; only whether /dev/kvm may be opened is asked each time.
func (d *Driver) Features(ctx context.Context) vmm.Features {
	f, _ := d.features(ctx)
	return f
}

func (d *Driver) features(ctx context.Context) (vmm.Features, Host) {
	f := vmm.Features{
		Links:   []network.LinkKind{network.LinkNone, network.LinkSocket, network.LinkOpenTap},
		Formats: []string{"raw", "qcow2"},
		Console: true,
	}
	d.probing.Lock()
	defer d.probing.Unlock()
	binary, version, err := d.version(ctx)
	if err != nil {
		f.Problem, f.Fix = model.Remedy(err)
		return f, Host{}
	}
	f.Version = version
	h := Host{Binary: binary}
	if h.TSCKHz, err = d.tsc(); err != nil {
		f.Problem = err.Error()
		return f, Host{}
	}
	f.Accel = "kvm"
	if verdict := d.options.KVM.Verdict(); verdict.Reason() != "" {
		f.Accel = "tcg"
		f.Slow, f.Fix = verdict.Reason()+": the VM's processor is emulated, some ten times slower", verdict.Fix
	}
	h.Accel = f.Accel
	return f, h
}

// version finds QEMU and checks its version. The error is a line for the user.
func (d *Driver) version(ctx context.Context) (binary, version string, err error) {
	binary, text, err := process.Program{
		Name: program, Path: d.options.Binary, Cache: d.options.Cache, ReadOnly: d.options.ReadOnly, Log: d.options.Log,
		Absent: model.Fixable(model.ErrUnsupported, install, "QEMU is not installed"),
	}.Version(ctx)
	if err != nil {
		return "", "", err
	}
	m := versionPattern.FindStringSubmatch(text)
	if m == nil {
		return "", "", model.Errorf(model.ErrUnsupported, "%s is not QEMU: it says %q for its version", binary, text[:min(len(text), 80)])
	}
	major, _ := strconv.Atoi(m[2]) // the pattern lets only short numbers through
	minor, _ := strconv.Atoi(m[3])
	if major < minVersion[0] || major == minVersion[0] && minor < minVersion[1] {
		return "", "", model.Fixable(model.ErrUnsupported, install, "QEMU %s is too old: at least %d.%d is needed", m[1], minVersion[0], minVersion[1])
	}
	return binary, m[1], nil
}

// tsc returns the rate of the host's time stamp counter, which is measured once per boot.
func (d *Driver) tsc() (int, error) {
	boot, err := procs.BootID()
	if err != nil {
		return 0, err
	}
	c := d.load()
	if c.Boot != boot || c.TSCKHz <= 0 {
		c = clock{boot, MeasureTSC()}
		d.save(c)
	}
	return c.TSCKHz, nil
}

func (d *Driver) cacheFile() string { return filepath.Join(d.options.Cache, "tsc.json") }

// load returns what was kept; a file that is missing or not whole is the same as an empty one.
func (d *Driver) load() (c clock) {
	if d.options.Cache == "" {
		return c
	}
	raw, err := os.ReadFile(d.cacheFile())
	if err != nil || json.Unmarshal(raw, &c) != nil {
		return clock{}
	}
	return c
}

// save keeps c. That it cannot be kept costs time, not correctness.
func (d *Driver) save(c clock) {
	if d.options.Cache == "" || d.options.ReadOnly {
		return
	}
	raw, err := json.Marshal(c)
	if err == nil {
		err = errors.Join(os.MkdirAll(d.options.Cache, 0o700), atomicfile.Write(d.cacheFile(), raw, 0o600))
	}
	if err != nil {
		d.options.Log.Warn("cannot keep the rate of the host's clock", "error", err)
	}
}
