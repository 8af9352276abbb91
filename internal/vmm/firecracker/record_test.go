package firecracker

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/testenv"
	"banger/internal/vmm"
)

var record = flag.Bool("record", false, "write the recordings anew, with the Firecracker in PATH")

// exchange is one call of the API and its answer, as they went over the socket.
type exchange struct {
	Path   string          `json:"path"`
	Body   json.RawMessage `json:"body"`
	Status int             `json:"status"`
	Answer string          `json:"answer,omitempty"`
}

// recording is what a real Firecracker said. The VM's directory is written $DIR in it.
type recording struct {
	Version   string     `json:"version"`
	Host      string     `json:"host"`
	Exchanges []exchange `json:"exchanges,omitempty"`
	Log       string     `json:"log"`            // what it wrote to its standard output and error meanwhile
	Code      int        `json:"code,omitempty"` // its exit code, for the recording of an end
}

const placeholder = "$DIR"

func loadRecording(t testing.TB, name string) (r recording) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sample is the VM of the recordings. Its kernel and initramfs are those of the tests with a real guest where there are
// any, and else no more than files.
func sample(t testing.TB, dir string) vmm.Config {
	t.Helper()
	c := vmm.Config{
		ID: "abcdefghijklmnop", Dir: dir, VCPUs: 2, MemoryBytes: 256 * model.MiB,
		Kernel: filepath.Join(dir, "vmlinux"), Initrd: filepath.Join(dir, "initrd"),
		Drives: []model.Drive{
			{Path: filepath.Join(dir, "modules"), Format: "raw", ReadOnly: true, Serial: model.SerialModules},
			{Path: filepath.Join(dir, "work"), Format: "raw", Serial: model.SerialWork},
		},
	}
	for path, given := range map[string]string{
		c.Kernel: os.Getenv("BANGER_TEST_KERNEL"), c.Initrd: os.Getenv("BANGER_TEST_INITRD"),
		c.Drives[0].Path: os.Getenv("BANGER_TEST_MODULES"), c.Drives[1].Path: "",
	} {
		var err error
		if given != "" {
			err = os.Symlink(given, path)
		} else {
			err = os.WriteFile(path, make([]byte, 4096), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// faults are VMs that Firecracker refuses, by the name of their recording.
var faults = map[string]func(c *vmm.Config, r []request) []request{
	"fault-kernel": func(c *vmm.Config, r []request) []request {
		_ = os.Remove(c.Kernel)
		return r
	},
	"fault-drive": func(c *vmm.Config, r []request) []request {
		_ = os.Remove(c.Drives[1].Path)
		return r
	},
	"fault-vcpus": func(_ *vmm.Config, r []request) []request {
		return append([]request{{"/machine-config", machineConfig{VCPUCount: 99, MemSizeMiB: 1}}}, r...)
	},
}

// TestRecord is how the recordings are made, with a real Firecracker: with KVM and a guest (see TestSuite) those of a start
// and of its ends, without a guest those of faults, and without a KVM device the one of that fault.
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("not run: needs to be asked for: go test ./internal/vmm/firecracker -run Record -record")
	}
	binary := testenv.NeedTool(t, program)
	version := New(Options{Binary: binary}).Features(t.Context()).Version
	take := func(name string, c vmm.Config, spoil func(*vmm.Config, []request) []request) *machine {
		requests, err := configure(c, false, "")
		if err != nil {
			t.Fatal(err)
		}
		if spoil != nil {
			requests = spoil(&c, requests)
		}
		m, made := recordStart(t, binary, c, requests)
		made.Version = version
		if name != "" {
			save(t, name, made)
		}
		return m
	}
	if os.Getenv("BANGER_TEST_KERNEL") == "" {
		all := maps.Clone(faults)
		all["fault-image"] = nil // its kernel is none
		if _, err := os.Stat("/dev/kvm"); err != nil {
			all = map[string]func(*vmm.Config, []request) []request{"fault-kvm": nil}
		}
		for name, spoil := range all {
			m := take(name, sample(t, t.TempDir()), spoil)
			if err := errors.Join(m.Kill(t.Context()), m.Close()); err != nil {
				t.Error(err)
			}
		}
		return
	}
	for name, more := range map[string][]string{"poweroff": nil, "panic": {"rdinit=/absent", "root=/dev/absent"}} {
		c := sample(t, t.TempDir())
		c.Cmdline = more
		saved := "start"
		if more != nil {
			saved = ""
		}
		m := take(saved, c, nil)
		if more == nil {
			powerOff(t, m)
		}
		select {
		case <-m.Done():
		case <-time.After(5 * time.Minute):
			t.Fatal("it does not end")
		}
		_, code, _ := m.Status("")
		_, text, _ := strings.Cut(m.log.Text(), "\n") // its first line may be cut
		save(t, name, recording{Version: version, Host: host(t), Log: text, Code: code})
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

func powerOff(t *testing.T, m *machine) {
	t.Helper()
	conn, err := m.Agent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g, err := guest.Connect(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Stop(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
}

// recordStart does what the driver does, up to the first refusal, and writes it down.
func recordStart(t *testing.T, binary string, c vmm.Config, requests []request) (*machine, recording) {
	t.Helper()
	made := recording{Host: host(t)}
	m := newMachine(c.Dir, New(Options{}).options.Log)
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Close()
	lock, err := procs.TryLock(filepath.Join(c.Dir, vmm.LockName))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	c.Lock = lock
	if err := errors.Join(watcher.Add(c.Dir), m.spawn(c, binary, false)); err != nil {
		t.Fatal(err)
	}
	conn, err := m.reach(t.Context(), watcher)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.close()
	time.Sleep(time.Second) // what it logs of its start is all there
	made.Log = m.log.Text()
	for _, r := range requests {
		status, answer, err := conn.call(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(r.body)
		if err != nil {
			t.Fatal(err)
		}
		made.Exchanges = append(made.Exchanges, exchange{
			Path: r.path, Body: json.RawMessage(strings.ReplaceAll(string(body), c.Dir, placeholder)),
			Status: status, Answer: strings.ReplaceAll(string(answer), c.Dir, placeholder),
		})
		if status >= 300 {
			break
		}
	}
	return m, made
}

func host(t *testing.T) string {
	if v := New(Options{}).options.KVM.Verdict(); v.Problem != "" {
		return "without KVM: " + v.Problem
	}
	raw, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("with KVM, Linux %s", strings.TrimSpace(string(raw)))
}

func save(t *testing.T, name string, r recording) {
	t.Helper()
	raw, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join("testdata", name+".json"), append(raw, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
