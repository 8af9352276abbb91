package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banger/client"
	"banger/internal/model"
	"banger/internal/server/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds what would hang for ever; nothing is timed by it.
const limit = time.Minute

// bench is a command line in front of a scripted daemon.
type bench struct {
	*servertest.Daemon
	in      io.Reader
	env     map[string]string
	signals chan os.Signal               // what the process is sent
	dials   []bool                       // whether each dial would have started a daemon
	err     atomic.Pointer[lockedBuffer] // of the run that is under way
}

type result struct {
	code     int
	out, err string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return &bench{Daemon: servertest.Start(t), in: strings.NewReader(""), env: map[string]string{}, signals: make(chan os.Signal)}
}

// lockedBuffer is a standard error that several goroutines write to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (b *bench) run(t *testing.T, args ...string) result {
	t.Helper()
	var out bytes.Buffer
	code, stderr := b.runTo(t, &out, args...)
	return result{code, out.String(), stderr}
}

func (b *bench) runTo(t *testing.T, out io.Writer, args ...string) (code int, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var err lockedBuffer
	b.err.Store(&err)
	a := newApp(Streams{In: b.in, Out: out, Err: &err})
	a.env = func(name string) (string, bool) { v, ok := b.env[name]; return v, ok }
	a.dial = func(ctx context.Context, autostart bool) (*client.Client, error) {
		b.dials = append(b.dials, autostart)
		return client.Dial(ctx, client.Options{Dirs: b.Dirs})
	}
	a.catch = func(c chan<- os.Signal, _ ...os.Signal) func() {
		ctx, cancel := context.WithCancel(ctx)
		go func() {
			for {
				select {
				case s := <-b.signals:
					c <- s
				case <-ctx.Done():
					return
				}
			}
		}()
		return cancel
	}
	code = a.run(ctx, args)
	return code, err.String()
}

func (r result) want(t *testing.T, code int, out string, errParts ...string) {
	t.Helper()
	if r.code != code || r.out != out {
		t.Errorf("exit %d, stdout %q, stderr %q; want exit %d, stdout %q", r.code, r.out, r.err, code, out)
	}
	for _, part := range errParts {
		if !strings.Contains(r.err, part) {
			t.Errorf("stderr %q, want %q in it", r.err, part)
		}
	}
	if len(errParts) == 0 && r.err != "" {
		t.Errorf("stderr %q, want nothing", r.err)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Add("box", model.StateRunning)
	for _, tt := range []struct {
		args string
		code int
		text string
	}{
		{"nonsense", 2, `"nonsense" is not a command`},
		{"vm nonsense", 2, "See 'banger vm --help'."},
		{"vm list extra", 2, "no argument"},
		{"vm list --nonsense", 2, "unknown flag"},
		{"vm list --format yaml", 2, "table and json"},
		{"vm start", 2, "name a VM"},
		{"vm logs a b", 2, "name one VM"},
		{"vm stop -t soon box", 2, "30s"},
		{"vm create --vcpu 0", 2, "positive"},
		{"vm create --name Bad", 1, "lower-case"},
		{"completion tcsh", 2, "bash"},
		{"vm run --nonsense", 125, "unknown flag"},
		{"vm run true", 125, "after --"},
		{"vm run --", 125, "no command"},
		{"vm run --vcpu 0 -- true", 125, "positive"},
		{"vm run --cpus -1 -- true", 125, "positive"},
		{"vm run -m 0 -- true", 125, "512M"},
		{"vm run -m -1 -- true", 125, "512M"},
		{"vm run -m 1e9G -- true", 125, "1e9G"},
		{"vm run --name -x -- true", 125, "lower-case"},
		{"vm run -w relative -- true", 125, "absolute"},
		{"vm run -e =x -- true", 125, "NAME=value"},
		{"vm run --timeout -1s -- true", 125, "30s"},
		{"vm run --timeout 5s", 125, "--timeout"},
		{"vm run -d -- true", 125, "--detach"},
		{"vm run -d -t", 125, "--detach"},
		{"vm run -d -i", 125, "--detach"},
		{"vm run -d --rm", 125, "--detach"},
		{"vm run -it -- true", 125, "not a TTY"},
		{"vm exec", 125, "name a VM"},
		{"vm exec box", 125, "name a command"},
		{"vm exec box --", 125, "name a command"},
		{"vm exec box -it -- sh", 125, "before"},
		{"vm exec -it box -- tty", 125, "not a TTY"},
		{"vm exec --nonsense box -- true", 125, "unknown flag"},
		{"vm exec nope -- true", 125, "banger vm list"},
		{"vm shell nope", 125, "banger vm list"},
	} {
		r := b.run(t, strings.Fields(tt.args)...)
		if r.code != tt.code || !strings.Contains(r.err, tt.text) || r.out != "" {
			t.Errorf("banger %s: exit %d, stdout %q, stderr %q; want exit %d and %q", tt.args, r.code, r.out, r.err, tt.code, tt.text)
		}
	}
	if made := b.VMs.Created(); len(made) != 0 {
		t.Errorf("something was made: %+v", made)
	}
}

func TestSeveralReferences(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, name := range []string{"a", "b", "c"} {
		b.VMs.Add(name, model.StateRunning)
	}
	b.run(t, "vm", "stop", "-t", "3", "c", "nope", "a", "c").want(t, 1, "c\na\n", `there is no VM "nope"`)
	b.run(t, "vm", "start", "a").want(t, 0, "a\n")
	b.run(t, "vm", "restart", "-t", "1m", "a").want(t, 0, "a\n")
	b.run(t, "vm", "kill", "b").want(t, 0, "b\n")
	b.run(t, "vm", "rm", "b", "a").want(t, 0, "b\na\n")
	calls := strings.Join(b.VMs.Calls(), ",")
	for _, want := range []string{"stop c 3s", "stop a 3s", "start a", "restart a 1m0s", "kill b", "delete a", "delete b"} {
		if !strings.Contains(calls, want) {
			t.Errorf("%q was not asked: %s", want, calls)
		}
	}
	if strings.Count(calls, "stop c") != 1 {
		t.Errorf("a VM named twice was stopped twice: %s", calls)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, noun := range []string{"vm", "image", "kernel"} {
		b.run(t, noun, "list", "--format", "json").want(t, 0, "[]\n")
		b.run(t, noun, "ls", "-q").want(t, 0, "")
	}
	b.VMs.Add("resting", model.StateStopped)
	b.VMs.Add("moving", model.StateRunning)
	b.Images.AddImage("debian")
	b.Images.AddKernel("debian-cloud")
	for _, tt := range []struct{ args, want, not string }{
		{"vm list", "resting", "\x1b"},
		{"vm ps", "moving", "resting"},
		{"ps", "moving", "resting"},
		{"ps -a", "resting", "\x1b"},
		{"image list", "debian", "\x1b"},
		{"kernel list", "6.1.0", "\x1b"},
		{"vm show moving", "VMM process:", "resting"},
		{"image show debian", "systemd", "\x1b"},
		{"kernel inspect debian-cloud", "6.1.0", "\x1b"},
	} {
		r := b.run(t, strings.Fields(tt.args)...)
		if r.code != 0 || !strings.Contains(r.out, tt.want) || strings.Contains(r.out, tt.not) {
			t.Errorf("banger %s: exit %d\n%s%s", tt.args, r.code, r.out, r.err)
		}
	}
	b.run(t, "vm", "list", "--quiet").want(t, 0, "resting\nmoving\n")
	b.run(t, "image", "rm", "debian", "nope").want(t, 1, "debian\n", "banger image list")
	b.run(t, "image", "build").want(t, 0, "debian\n")
}

func TestJSON(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Add("moving", model.StateRunning)
	b.VMs.Add("resting", model.StateStopped)
	var vms []map[string]any
	decode(t, b.run(t, "vm", "list", "--format=json"), &vms)
	for _, key := range strings.Fields("id name state image image_digest kernel kernel_digest vmm vcpus memory_bytes disk_bytes network env workdir user created_at started_at used_at last_error leased dir handles") {
		if _, ok := vms[0][key]; !ok {
			t.Errorf("no key %s", key)
		}
	}
	handles := func(i int) any { return vms[i]["handles"].(map[string]any)["vmm"] }
	if p, ok := handles(0).(map[string]any); !ok || p["pid"] != 4242.0 {
		t.Errorf("running: handles.vmm is %v", handles(0))
	}
	if handles(1) != nil {
		t.Errorf("stopped: handles.vmm is %v, want null", handles(1))
	}
	if _, err := time.Parse(time.RFC3339, vms[0]["created_at"].(string)); err != nil {
		t.Error(err)
	}
	var one map[string]any
	decode(t, b.run(t, "vm", "inspect", "moving", "--format", "json"), &one)
	if one["name"] != "moving" {
		t.Errorf("show: %v", one)
	}
	var several []map[string]any
	r := b.run(t, "vm", "show", "moving", "nope", "--format", "json")
	if err := json.Unmarshal([]byte(r.out), &several); err != nil || len(several) != 1 || r.code != 1 {
		t.Errorf("show of two: %v %v, exit %d", several, err, r.code)
	}
	var status map[string]any
	decode(t, b.run(t, "daemon", "status", "--format", "json"), &status)
	for _, key := range strings.Fields("pid version socket state_dir log") {
		if _, ok := status[key]; !ok {
			t.Errorf("daemon status: no key %s", key)
		}
	}
	var v map[string]any
	decode(t, b.run(t, "version", "--format", "json"), &v)
	for _, key := range strings.Fields("client daemon protocol agent") {
		if _, ok := v[key]; !ok {
			t.Errorf("version: no key %s", key)
		}
	}
}

func decode(t *testing.T, r result, into any) {
	t.Helper()
	if r.code != 0 || r.err != "" {
		t.Fatalf("exit %d, stderr %q", r.code, r.err)
	}
	if err := json.Unmarshal([]byte(r.out), into); err != nil {
		t.Fatalf("%v in %s", err, r.out)
	}
}

func TestNoDaemon(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Close(t)
	b.run(t, "version", "--client", "--format=json").want(t, 0, "{\n  \"client\": \"dev\",\n  \"protocol\": 1\n}\n")
	if len(b.dials) != 0 {
		t.Error("version --client dialed")
	}
	b.run(t, "daemon", "stop").want(t, 0, "")
	if r := b.run(t, "daemon", "status"); r.code != 1 || r.out != "" || !strings.Contains(r.err, "no daemon is running") {
		t.Errorf("status: %+v", r)
	}
	if r := b.run(t, "__complete", "vm", "start", ""); r.code != 0 || !strings.HasPrefix(r.out, ":") {
		t.Errorf("completion: %+v", r)
	}
	for i, autostart := range b.dials {
		if autostart {
			t.Errorf("dial %d would have started a daemon", i)
		}
	}
	if r := b.run(t, "vm", "list"); r.code != 1 || !b.dials[len(b.dials)-1] {
		t.Errorf("list: %+v; it must start a daemon", r)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Add("live-name", model.StateRunning)
	b.VMs.Add("other", model.StateStopped)
	b.Images.AddImage("debian")
	for args, want := range map[string]string{
		"vm start live":           "live-name\n",
		"vm delete other live":    "live-name\n",
		"vm run --image deb":      "debian\n",
		"vm create --vmm f":       "fake\n",
		"vm run --root-disk o":    "other\n",
		"image show deb":          "debian\n",
		"vm list --format js":     "table\njson\n", // the shell picks
		"completion z":            "zsh\n",
		"vm exec live-name -- li": "",
	} {
		if r := b.run(t, append([]string{"__complete"}, strings.Fields(args)...)...); r.code != 0 || !strings.HasPrefix(r.out, want+":") {
			t.Errorf("%s: exit %d, %q, want %q", args, r.code, r.out, want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if r := b.run(t, "completion", shell); r.code != 0 || !strings.Contains(r.out, "banger") {
			t.Errorf("%s: %+v", shell, r)
		}
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Add("box", model.StateRunning)
	b.VMs.Console = "raw \x1b[31m bytes\r\n" + strings.Repeat("x", 200<<10)
	b.run(t, "vm", "logs", "box").want(t, 0, b.VMs.Console) // not a terminal: as they were
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("needs /dev/full")
	}
	defer full.Close()
	b := newBench(t)
	var stderr bytes.Buffer
	a := newApp(Streams{In: b.in, Out: full, Err: &stderr})
	a.dial = func(ctx context.Context, _ bool) (*client.Client, error) {
		return client.Dial(ctx, client.Options{Dirs: b.Dirs})
	}
	if code := a.run(t.Context(), []string{"vm", "list"}); code != 1 || !strings.Contains(stderr.String(), "no space left") {
		t.Errorf("exit %d, %q", code, stderr.String())
	}
}

func TestCatchSeesRealSignals(t *testing.T) {
	t.Parallel()
	a := newApp(Streams{})
	c := make(chan os.Signal, 1)
	stop := a.catch(c, os.Interrupt)
	defer stop()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer signal.Reset(os.Interrupt)
	if err := self.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-c
}
