package daemon_test

import (
	"banger/client"
	"banger/internal/daemon"
	"banger/internal/dirs"
	"banger/internal/doctor"
	"banger/internal/image"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/network/networktest"
	"banger/internal/procs"
	"banger/internal/rootdisk"
	"banger/internal/rootdisk/dmsnap"
	"banger/internal/rootdisk/dmsnap/dmsnaptest"
	"banger/internal/rootdisk/overlay"
	"banger/internal/rootdisk/qcow2"
	"banger/internal/store"
	"banger/internal/testenv"
	"banger/internal/vm"
	"banger/internal/vmm"
	"banger/internal/vmm/vmmtest"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Environment of the test program run again as a daemon.
const (
	daemonVariable    = "BANGER_TEST_DAEMON"    // the root of its directories
	behaviourVariable = "BANGER_TEST_BEHAVIOUR" // of its fake VMMs, or "first " and that of the first boot only
	bootVariable      = "BANGER_TEST_BOOT"      // its limit for a boot, as a duration
	toolsVariable     = "BANGER_TEST_TOOLS"     // the directory of the programs that it makes images with
)

// raceVariable keeps the race detector from pausing for a second at a daemon's end. What it has seen until then it reports.
const raceVariable = "GORACE=atexit_sleep_ms=0 "

func TestMain(m *testing.M) {
	vmmtest.RunIfFake()
	if root := os.Getenv(daemonVariable); root != "" {
		os.Exit(runDaemon(root))
	}
	os.Exit(m.Run())
}

func dirsBelow(root string) dirs.Dirs {
	return dirs.Dirs{State: root + "/state", Data: root + "/data", Cache: root + "/cache", Config: root + "/config"}
}

// runDaemon is the daemon over fake VMMs, a process of its own so that it can be killed.
func runDaemon(root string) int {
	ready := os.NewFile(3, "ready")
	d := dirsBelow(root)
	first, onlyFirst := strings.CutPrefix(os.Getenv(behaviourVariable), "first ")
	var boots atomic.Int32
	behaviour := func(vmm.Config) vmmtest.Behaviour {
		if boots.Add(1) > 1 && onlyFirst {
			return vmmtest.Normal
		}
		return vmmtest.Behaviour(first)
	}
	limits := vm.DefaultLimits
	if limit, err := time.ParseDuration(os.Getenv(bootVariable)); err == nil {
		limits.Boot = limit
	}
	err := daemon.Run(context.Background(), daemon.Config{
		Dirs: d, Agent: os.Args[0], Limits: limits, Tools: toolsIn(os.Getenv(toolsVariable)),
		Drivers: func(h daemon.Host) daemon.Drivers {
			return daemon.Drivers{
				VMMs: []vmm.Driver{vmmtest.NewFake(vmmtest.FakeOptions{Behaviour: behaviour})},
				RootDisks: []rootdisk.Driver{
					qcow2.New(qcow2.Options{VMs: d.VMs(), Log: h.Log}), overlay.New(overlay.Options{VMs: d.VMs(), Log: h.Log}),
					dmsnap.New(dmsnap.Options{VMs: d.VMs(), Verbs: dmsnaptest.New(root + "/devices"), Log: h.Log}),
				},
				Networks: []network.Driver{networktest.NewFake(root+"/network", nil), networktest.Direct{Fake: networktest.NewFake(root+"/direct", nil)}},
			}
		},
		Ready: func() { ready.Close() },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// toolsIn makes a daemon build its images with the programs of a directory, as an ordinary user does. Nothing of what is
// installed takes their place.
func toolsIn(dir string) image.Tools {
	return image.Tools{
		Find:    func(name, _ string) (string, error) { return filepath.Join(dir, name), nil },
		Keyring: filepath.Join(dir, "keyring.gpg"),
		Owners:  func() error { return nil },
	}
}

// host is one installation whose daemons are started and killed.
type host struct {
	t    *testing.T
	root string
	dirs dirs.Dirs
}

// newHost is an installation with an image and a kernel.
func newHost(t *testing.T) *host {
	t.Helper()
	h := newBareHost(t)
	h.blob(h.dirs.Images(), "image", "root.ext4")
	h.blob(h.dirs.Kernels(), "kernel", "vmlinux", "modules.ext4", "early.cpio")
	return h
}

func newBareHost(t *testing.T) *host {
	t.Helper()
	root := testenv.QuickDir(t) // sockets lie in it
	return &host{t: t, root: root, dirs: dirsBelow(root)}
}

// blob puts the default image or kernel into the data directory, one that no guest could boot and no fake looks into.
func (h *host) blob(parent, kind string, files ...string) {
	h.t.Helper()
	name := map[string]string{"image": model.DefaultImage, "kernel": model.DefaultKernel}[kind]
	content := make([]byte, 64<<10)
	copy(content, kind)
	sum := sha256.Sum256(content)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	dir := filepath.Join(parent, hex.EncodeToString(sum[:]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		h.t.Fatal(err)
	}
	infos := map[string]any{}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f), content, 0o400); err != nil {
			h.t.Fatal(err)
		}
		infos[f] = map[string]any{"digest": digest, "bytes": len(content)}
	}
	manifest := map[string]any{"format": 1, "files": infos, kind: map[string]any{
		"digest": digest, "name": name, "arch": "amd64", "init": "agent", "release": "1", "size_bytes": len(content),
		"created_at": time.Now(), "early_modules": []string{},
	}}
	data, err := json.Marshal(manifest)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), data, 0o400); err != nil {
		h.t.Fatal(err)
	}
}

// start starts a daemon, with more in its environment, and waits until it serves or has ended.
func (h *host) start(env ...string) *exec.Cmd {
	h.t.Helper()
	ready, theirs, err := os.Pipe()
	if err != nil {
		h.t.Fatal(err)
	}
	defer ready.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), daemonVariable+"="+h.root, raceVariable+os.Getenv("GORACE")), env...)
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	theirs.Close()
	_, _ = ready.Read(make([]byte, 1)) // ends when it serves, or when it is dead
	h.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

// stop ends a daemon in good order.
func (h *host) stop(cmd *exec.Cmd) {
	h.t.Helper()
	c := h.dial()
	if err := c.StopDaemon(h.t.Context()); err != nil {
		h.t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		h.t.Errorf("the daemon ended with %v", err)
	}
}

func (h *host) dial() *client.Client {
	h.t.Helper()
	c, err := client.Dial(h.t.Context(), client.Options{Dirs: h.dirs})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

// settled waits until every VM is at rest and returns them as the ledger wants them.
func (h *host) settled(c *client.Client) []model.VM {
	h.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		views, err := c.VMs(h.t.Context(), false)
		if err != nil {
			h.t.Fatal(err)
		}
		var vms []model.VM
		rest := true
		for _, v := range views {
			state, _ := model.ParseState(v.State)
			rest = rest && state.AtRest()
			vms = append(vms, model.VM{ID: model.VMID(v.ID), Name: v.Name, State: state})
		}
		if rest {
			return vms
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("not at rest a minute after the daemon's start: %+v", vms)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// noLeaks asks the ledger about VMs, and about the images and kernels that the daemon has, or has had when none runs.
func (h *host) noLeaks(vms []model.VM) {
	h.t.Helper()
	leaks, err := doctor.Ledger(h.t.Context(), h.dirs, h.rows(vms))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, l := range leaks {
		h.t.Errorf("leaked: %s", l)
	}
	devices, err := dmsnaptest.New(h.root + "/devices").List(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range devices {
		if !slices.ContainsFunc(vms, func(v model.VM) bool { return v.ID == s.ID && v.State == model.StateRunning }) {
			h.t.Errorf("leaked: the devices of %s", s.ID)
		}
	}
}

// rows are what the ledger is asked about. Nothing is being done, so that no operation accounts for anything.
func (h *host) rows(vms []model.VM) doctor.Rows {
	h.t.Helper()
	s, err := store.OpenReadOnly(h.t.Context(), h.dirs.Database())
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.Close()
	r := doctor.Rows{VMs: vms, Alone: true}
	var errs [4]error
	r.Images, errs[0] = s.Images(h.t.Context())
	r.Kernels, errs[1] = s.Kernels(h.t.Context())
	running, err := s.Operations(h.t.Context(), true)
	errs[2] = err
	daemon, err := procs.LockHolder(h.dirs.Lock())
	if errs[3] = err; errors.Join(errs[:]...) != nil {
		h.t.Fatal(errs)
	}
	for _, op := range running {
		if daemon == 0 {
			h.t.Errorf("without a daemon the operation %s %s runs", op.Kind, op.Subject)
		}
	}
	return r
}
