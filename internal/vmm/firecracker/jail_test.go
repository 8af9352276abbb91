package firecracker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fsnotify/fsnotify"

	"banger/internal/helper/jail"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/procs"
	"banger/internal/testenv"
	"banger/internal/vmm"
	"banger/internal/vmm/vmmtest"
)

// pretended has no jails, but processes in directories, which see at jail.Inside what is there.
type pretended struct {
	t       *testing.T
	dir     string
	program string
	problem string
}

// sharedVariable tells the stand-in what is at jail.Inside.
const sharedVariable = "BANGER_TEST_INSIDE"

// at is where the stand-in has a path that it is given.
func at(path string) string {
	if rest, inside := strings.CutPrefix(path, jail.Inside+"/"); inside && os.Getenv(sharedVariable) != "" {
		return filepath.Join(os.Getenv(sharedVariable), rest)
	}
	return path
}

func (p *pretended) Problem() string              { return p.problem }
func (p *pretended) Program() string              { return p.program }
func (p *pretended) UID(slot int) (int, error)    { return jail.FirstUID + slot, nil }
func (p *pretended) Path(id model.VMID) string    { return filepath.Join(p.dir, string(id)) }
func (p *pretended) Stock() string                { return filepath.Join(p.dir, "stock") }
func (p *pretended) LeaveStock() error            { return os.RemoveAll(p.Stock()) }
func (p *pretended) pidFile(id model.VMID) string { return filepath.Join(p.dir, string(id)+".pid") }

func (p *pretended) There(id model.VMID) bool {
	_, err := os.Stat(p.Path(id))
	return err == nil
}

func (p *pretended) Process(id model.VMID) (int, error) {
	text, err := os.ReadFile(p.pidFile(id))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	pid, err := strconv.Atoi(string(text))
	if _, gone := procs.Of(pid); gone != nil {
		return 0, err
	}
	return pid, err
}

func (p *pretended) List(context.Context) (all []jail.VM, err error) {
	entries, err := os.ReadDir(p.dir)
	for _, e := range entries {
		if id := model.VMID(e.Name()); id.Valid() {
			pid, _ := p.Process(id)
			all = append(all, jail.VM{ID: id, Dir: p.Path(id), UID: jail.FirstUID + 1, PID: pid, Cgroup: "/pretended"})
		}
	}
	return all, err
}

func (p *pretended) Start(ctx context.Context, id model.VMID, s jail.Spec, lock, log *os.File) (jail.VM, error) {
	if s.Slot != 1 || s.VCPUs < 1 || s.MemoryBytes < model.MinMemoryBytes {
		p.t.Errorf("asked for %+v", s)
	}
	if err := errors.Join(os.Mkdir(p.Path(id), 0o700), os.MkdirAll(p.Stock(), 0o700)); err != nil {
		return jail.VM{}, err
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return jail.VM{}, err
	}
	defer watcher.Close()
	if err := watcher.Add(p.Path(id)); err != nil {
		return jail.VM{}, err
	}
	child, err := procs.Start(p.program, []string{p.program, "--api-sock", filepath.Join(jail.Inside, jail.Socket), "--id", string(id), "--level", "Info"}, os.ProcAttr{
		Env: append(os.Environ(), sharedVariable+"="+p.Path(id)), Files: []*os.File{lock, log, log},
	})
	if err != nil {
		return jail.VM{}, err
	}
	pid := child.Process().PID
	if err := os.WriteFile(p.pidFile(id), []byte(strconv.Itoa(pid)), 0o600); err != nil {
		return jail.VM{}, err
	}
	for {
		if _, err := os.Stat(filepath.Join(p.Path(id), jail.Socket)); err == nil {
			return jail.VM{ID: id, Dir: p.Path(id), PID: pid, Cgroup: "/pretended"}, nil
		}
		select {
		case <-watcher.Events:
		case <-child.Done():
			return jail.VM{}, errors.New("it ended")
		case <-ctx.Done():
			return jail.VM{}, errors.Join(ctx.Err(), child.Kill(context.Background()))
		}
	}
}

func (p *pretended) Kill(ctx context.Context, id model.VMID) error {
	pid, err := p.Process(id)
	if err != nil || pid == 0 {
		return err
	}
	identity, err := procs.Of(pid)
	if err != nil {
		return nil
	}
	h, err := procs.Open(identity)
	if err != nil {
		return nil
	}
	defer h.Close()
	return h.Kill(ctx)
}

func (p *pretended) Remove(ctx context.Context, id model.VMID) error {
	return errors.Join(p.Kill(ctx, id), os.RemoveAll(p.Path(id)), os.RemoveAll(p.pidFile(id)))
}

func pretend(t *testing.T) *pretended {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &pretended{t: t, dir: testenv.QuickDir(t), program: self}
}

// TestStandInInJails holds the driver to its contract when its VMMs run in jails.
func TestStandInInJails(t *testing.T) {
	p := pretend(t)
	kernel, initrd := file(t, fileKernel), file(t, fileInitrd)
	o := Options{Binary: p.program, Cache: t.TempDir(), KVM: anyKVM(t), Jail: p}
	suite(t, o, vmmtest.Harness{
		Config: func(t *testing.T) vmm.Config {
			return vmm.Config{Slot: 1, VCPUs: 1, MemoryBytes: 256 * model.MiB, Kernel: kernel, Initrd: initrd}
		},
	})
	d := New(o)
	if left := copiesIn(t, &d.stock); len(left) != 2 {
		t.Errorf("copies: %v", left)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(p.dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestWhatIsRunInAJail: all that can be; where there are none, nothing.
func TestWhatIsRunInAJail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(o *Options, c *vmm.Config)
		want   bool
	}{
		"without a network":        {func(*Options, *vmm.Config) {}, true},
		"on a bridge":              {func(_ *Options, c *vmm.Config) { c.Link.Kind = network.LinkWire }, true},
		"on netd's network":        {func(_ *Options, c *vmm.Config) { c.Link.Kind = network.LinkJailTap }, true},
		"with a tap of the host's": {func(_ *Options, c *vmm.Config) { c.Link.Kind = network.LinkTap }, false},
		"with a tap of its own":    {func(_ *Options, c *vmm.Config) { c.Link.Kind = network.LinkOwnTap }, false},
		"in a slot without a user": {func(_ *Options, c *vmm.Config) { c.Slot = jail.MaxSlot + 1 }, false},
		"when it is switched off":  {func(o *Options, _ *vmm.Config) { o.Unjailed = true }, false},
		"without jails":            {func(o *Options, _ *vmm.Config) { o.Jail = nil }, false},
		"when there is a problem":  {func(o *Options, _ *vmm.Config) { o.Jail.(*pretended).problem = "none today" }, false},
		"of an old version": {func(o *Options, _ *vmm.Config) {
			o.Jail.(*pretended).program = script(t, "echo 'Firecracker v1.7.0'")
		}, false},
	} {
		p := pretend(t)
		o := Options{Binary: p.program, KVM: anyKVM(t), Jail: p}
		config := vmm.Config{Slot: 1}
		c.change(&o, &config)
		d := New(o)
		if got, err := d.jails(t.Context(), config); err != nil || got != c.want {
			t.Errorf("%s: %t, %v", name, got, err)
		}
		if config.Link.Kind != network.LinkNone {
			continue
		}
		// What is for a jail is run in none else, and not asked for where there is none.
		for _, kind := range []network.LinkKind{network.LinkWire, network.LinkJailTap} {
			config.Link.Kind = kind
			if got, err := d.jails(t.Context(), config); got != c.want || errors.Is(err, model.ErrUnsupported) == c.want {
				t.Errorf("%s: with a link of kind %d: %t, %v", name, kind, got, err)
			}
			if got := slices.Contains(d.Features(t.Context()).Links, kind); got != c.want && config.Slot == 1 {
				t.Errorf("%s: takes links of kind %d: %t", name, kind, got)
			}
		}
	}
}

// TestSweepRemovesJailsWithoutAVM and no others.
func TestSweepRemovesJailsWithoutAVM(t *testing.T) {
	t.Parallel()
	p := pretend(t)
	kept, lost := model.NewVMID(), model.NewVMID()
	for _, id := range []model.VMID{kept, lost} {
		if err := os.Mkdir(p.Path(id), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d := New(Options{Jail: p})
	leaks, err := d.Leaks(t.Context(), []model.VM{{ID: kept, State: model.StateRunning}})
	if err != nil || len(leaks) != 1 || leaks[0].What != p.Path(lost) {
		t.Errorf("leaks: %v, %v", leaks, err)
	}
	if err := d.Sweep(t.Context(), map[model.VMID]bool{kept: true}); err != nil {
		t.Fatal(err)
	}
	if !p.There(kept) || p.There(lost) {
		t.Errorf("kept: %t, lost: %t", p.There(kept), p.There(lost))
	}
}
