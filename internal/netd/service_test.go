package netd

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	netdv1 "banger/api/netd/v1"
	"banger/api/netd/v1/netdv1connect"
	"banger/internal/apierror"
	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/netd/names"
	"banger/internal/netd/netdtest"
	"banger/internal/unixsocket"
)

// TestNetdProcess is not a test: it is banger-netd, when another test runs this binary as one.
func TestNetdProcess(t *testing.T) {
	if os.Getenv("BANGER_TEST_NETD") == "" {
		t.Skip("for other tests to run")
	}
	os.Exit(Main(nil))
}

// start runs a netd and returns what it said.
func start(t *testing.T, state string) (*exec.Cmd, string) {
	t.Helper()
	says, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer says.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestNetdProcess$")
	cmd.Env = append(os.Environ(), "BANGER_TEST_NETD=1", "XDG_STATE_HOME="+state)
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	buf := make([]byte, 4096)
	n, _ := says.Read(buf)
	return cmd, strings.TrimSpace(string(buf[:n]))
}

func stateDir(t *testing.T) (string, dirs.Dirs) {
	t.Helper()
	state := t.TempDir()
	d, err := dirs.Find(func(name string) string {
		return map[string]string{"HOME": state, "XDG_STATE_HOME": state}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(d.State, 0o700); err != nil {
		t.Fatal(err)
	}
	return state, d
}

func dialService(t *testing.T, d dirs.Dirs) (netdv1connect.NetdServiceClient, func()) {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return unixsocket.Dial(ctx, d.NetdSocket())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return netdv1connect.NewNetdServiceClient(connect.NewClient(connecthttp.NewTransport(
		&http.Client{Transport: transport}, "http://netd"))), transport.CloseIdleConnections
}

func TestProcess(t *testing.T) {
	t.Parallel()
	state, d := stateDir(t)
	cmd, said := start(t, state)
	if said != "ready" {
		t.Fatalf("netd says %q", said)
	}
	if _, said := start(t, state); said != "running" {
		t.Errorf("a second netd says %q", said)
	}
	if info, err := os.Stat(d.NetdSocket()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	rpc, hangUp := dialService(t, d)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	hello, err := rpc.Hello(ctx, &netdv1.HelloRequest{})
	if err != nil || hello.GetPid() != int32(cmd.Process.Pid) || hello.GetProtocol() != Protocol {
		t.Fatalf("%v, %v", hello, err)
	}
	hold, err := rpc.Hold(ctx, &netdv1.HoldRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold.Receive(); err != nil {
		t.Fatal(err)
	}
	g := netdtest.New(t, 2, testMTU)
	m := description(g, "box", "public")
	m.Forwards = forwards("127.0.0.1 0 80 tcp")
	set, err := rpc.Set(ctx, &netdv1.SetRequest{Port: m})
	if err != nil || len(set.GetForwards()) != 1 || set.GetForwards()[0].GetHostPort() == 0 {
		t.Fatalf("%v, %v", set, err)
	}
	g.Connected()
	if _, err := g.Dial(ctx, "10.0.0.1:22"); !netdtest.Refused(err) {
		t.Errorf("%v", err)
	}
	denied, err := rpc.Denied(ctx, &netdv1.DeniedRequest{VmId: "id-box"})
	if err != nil || len(denied.GetDenials()) != 1 || denied.GetDenials()[0].GetDestination() != "10.0.0.1:22" || denied.GetDenials()[0].GetLast() == nil {
		t.Errorf("%v, %v", denied, err)
	}
	check, err := rpc.Check(ctx, &netdv1.CheckRequest{VmId: "id-box", Destination: "127.0.0.1:22"})
	if err != nil || check.GetAllowed() || !strings.Contains(check.GetRule(), "loopback") {
		t.Errorf("%v, %v", check, err)
	}
	m.Policy = "nonsense"
	_, err = rpc.Set(ctx, &netdv1.SetRequest{Port: m})
	if err = apierror.FromRPC(err); !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), `"nonsense"`) {
		t.Errorf("a bad policy: %v", err)
	}
	if _, err := rpc.Denied(ctx, &netdv1.DeniedRequest{VmId: "nobody"}); !errors.Is(apierror.FromRPC(err), model.ErrNotFound) {
		t.Errorf("nobody's denials: %v", err)
	}
	for range 2 {
		if _, err := rpc.Clear(ctx, &netdv1.ClearRequest{VmId: "id-box"}); err != nil {
			t.Error(err)
		}
	}
	if _, err := rpc.Set(ctx, &netdv1.SetRequest{Port: description(g, "box", "public")}); err != nil {
		t.Error(err)
	}
	if _, err := rpc.Keep(ctx, &netdv1.KeepRequest{VmIds: []string{"another"}}); err != nil {
		t.Error(err)
	}
	if _, err := rpc.Denied(ctx, &netdv1.DeniedRequest{VmId: "id-box"}); !errors.Is(apierror.FromRPC(err), model.ErrNotFound) {
		t.Errorf("a port that was not kept: %v", err)
	}
	hold.Close()
	cancel()
	hangUp()
	if err := cmd.Wait(); err != nil { // nobody needs it: it ends by itself
		t.Errorf("it ended with %v", err)
	}
	for _, gone := range []string{d.NetdSocket()} {
		if _, err := os.Lstat(gone); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", filepath.Base(gone), err)
		}
	}
}

func TestLife(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{}, 10)
	l := NewLife(time.Millisecond, func() { ended <- struct{}{} })
	<-ended // nobody came
	release := l.Hold()
	l.Ports(1)
	release()
	release() // twice is once
	other := l.Hold()
	l.Ports(0)
	select {
	case <-ended:
		t.Error("it ended while it was held")
	case <-time.After(20 * time.Millisecond):
	}
	other()
	<-ended
	l.Stop()
}

func TestBadDescriptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, other := w.guest(2, "box", "public"), w.guest(3, "other", "public")
	for name, change := range map[string]func(*netdv1.Port){
		"no id":               func(m *netdv1.Port) { m.VmId = "" },
		"no name":             func(m *netdv1.Port) { m.Name = "" },
		"a name with a dot":   func(m *netdv1.Port) { m.Name = "a.b" },
		"a relative socket":   func(m *netdv1.Port) { m.Socket = "net.sock" },
		"no MAC":              func(m *netdv1.Port) { m.Mac = nil },
		"a group's MAC":       func(m *netdv1.Port) { m.Mac = []byte{1, 0, 0, 0, 0, 1} },
		"our MAC":             func(m *netdv1.Port) { m.Mac = []byte("\x02bnetd") },
		"no prefix":           func(m *netdv1.Port) { m.Address = "198.18.0.2" },
		"another network":     func(m *netdv1.Port) { m.Address = "10.0.0.2/24" },
		"another VM's":        func(m *netdv1.Port) { m.Address = other.Address.String() + "/15" },
		"no gateway":          func(m *netdv1.Port) { m.Gateway = "" },
		"itself as gateway":   func(m *netdv1.Port) { m.Gateway = "198.18.0.2" },
		"the internet's":      func(m *netdv1.Port) { m.Gateway = "93.184.216.34" },
		"a tiny MTU":          func(m *netdv1.Port) { m.Mtu = 100 },
		"a huge MTU":          func(m *netdv1.Port) { m.Mtu = 65536 },
		"no policy":           func(m *netdv1.Port) { m.Policy = "" },
		"host port 0":         func(m *netdv1.Port) { m.HostPorts = []uint32{0} },
		"host port 65536":     func(m *netdv1.Port) { m.HostPorts = []uint32{65536} },
		"too many host ports": func(m *netdv1.Port) { m.HostPorts = make([]uint32, 300) },
	} {
		m := description(g, "box", "public")
		change(m)
		if _, err := w.trySet(m); model.KindOf(err) == nil {
			t.Errorf("%s: %v; want an error of a kind", name, err)
		}
	}
}

func TestListTellsWhoHasAPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if all := w.List(); len(all) != 0 {
		t.Errorf("nobody has one: %+v", all)
	}
	w.guest(3, "second", "open")
	m := description(netdtest.New(t, 2, testMTU), "first", "public")
	m.Forwards = []*netdv1.Forward{{HostIp: "127.0.0.1", GuestPort: 80}}
	taken := w.set(m)
	all := w.List()
	if len(all) != 2 || all[0].ID != "id-first" || all[0].Name != "first" || all[1].Name != "second" || len(all[1].Forwards) != 0 {
		t.Fatalf("%+v", all)
	}
	if f := all[0].Forwards; len(f) != 1 || f[0] != taken[0] || f[0].HostPort == 0 {
		t.Errorf("%+v, and taken were %+v", f, taken)
	}
	w.Clear("id-first")
	if all := w.List(); len(all) != 1 || all[0].Name != "second" {
		t.Errorf("after one was cleared: %+v", all)
	}
}

func TestHostWithoutResolvers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := names.NewHost(path, "53").Check(); err == nil {
		t.Error("a missing file is fine")
	}
	for text, fine := range map[string]bool{"": false, "search x\n": false, "nameserver 192.0.2.1\n": true} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := names.NewHost(path, "53").Check(); (err == nil) != fine {
			t.Errorf("%q: %v", text, err)
		}
	}
}
