// Package kvm finds out whether this host's KVM is worth using.
package kvm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"banger/internal/atomicfile"
	"banger/internal/procs"
)

const device = "/dev/kvm"

// Options are what a Probe needs to know.
type Options struct {
	Cache    string       // directory that keeps the verdict for one boot; "" for none
	ReadOnly bool         // what is found out is not kept
	Log      *slog.Logger // nil for none
}

// Verdict is what KVM is good for here, one line each for the user; all are "" when it is as fast as it should be.
type Verdict struct {
	Problem string // why it runs no guest
	Slow    string // why it is better left alone though it runs them
	Fix     string // the command that mends the Problem; "" when none does
}

// Reason is why KVM should not be used, "" when it should.
func (v Verdict) Reason() string { return v.Problem + v.Slow }

// Probe tells whether KVM is of use. It is safe for concurrent use.
type Probe struct {
	options Options

	pretended *Verdict // for tests; nil for the host's own

	mu   sync.Mutex // one try at a time: two would disturb each other's timing
	last kept
}

// kept is a verdict with the boot that it holds for.
type kept struct {
	Boot    string  `json:"boot"`
	Verdict Verdict `json:"verdict"`
}

// New returns a probe that has tried nothing yet.
func New(o Options) *Probe {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Probe{options: o}
}

// Pretend returns a probe with a verdict that does not depend on the host, for tests.
func Pretend(v Verdict) *Probe { return &Probe{pretended: &v} }

// Verdict finds out what KVM is good for. Whether the device may be opened is asked each time, since that can be put right
// at any moment; its speed is measured once per boot.
func (p *Probe) Verdict() Verdict {
	if p.pretended != nil {
		return *p.pretended
	}
	if reason, fix := open(); reason != "" {
		return Verdict{Problem: reason, Fix: fix}
	}
	boot, err := procs.BootID()
	if err != nil {
		return Verdict{Problem: err.Error()}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last.Boot != boot {
		p.last = p.load()
	}
	if p.last.Boot != boot {
		p.last = kept{boot, try()}
		p.save(p.last)
	}
	return p.last.Verdict
}

func (p *Probe) file() string { return filepath.Join(p.options.Cache, "kvm.json") }

// load returns what was kept; a file that is missing or not whole is the same as an empty one.
func (p *Probe) load() (v kept) {
	if p.options.Cache == "" {
		return v
	}
	raw, err := os.ReadFile(p.file())
	if err != nil || json.Unmarshal(raw, &v) != nil {
		return kept{}
	}
	return v
}

// save keeps v. That it cannot be kept costs time, not correctness.
func (p *Probe) save(v kept) {
	if p.options.Cache == "" || p.options.ReadOnly {
		return
	}
	raw, err := json.Marshal(v)
	if err == nil {
		err = errors.Join(os.MkdirAll(p.options.Cache, 0o700), atomicfile.Write(p.file(), raw, 0o600))
	}
	if err != nil {
		p.options.Log.Warn("cannot keep what was found out of KVM", "error", err)
	}
}

// open says whether this user may use KVM at all, "" when so, and the command that lets the user in, if one does.
func open() (reason, fix string) {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
		return "", ""
	case errors.Is(err, fs.ErrNotExist):
		return "this machine has no " + device, ""
	case errors.Is(err, fs.ErrPermission):
		if name := group(); name != "" {
			return fmt.Sprintf("you may not open %s before you are in its group %s and have logged in again", device, name), "sudo usermod -aG " + name + " $USER"
		}
		return "you may not open " + device, ""
	}
	return fmt.Sprintf("%s cannot be opened (%v)", device, errors.Unwrap(err)), ""
}

// group is the device's, when being in it is the way in, else "".
func group() string {
	info, err := os.Stat(device)
	if err != nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Gid == 0 || info.Mode().Perm()&0o060 != 0o060 {
		return ""
	}
	name := strconv.Itoa(int(st.Gid))
	if g, err := user.LookupGroupId(name); err == nil {
		name = g.Name
	}
	return name
}
