package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"banger/client"
	"banger/internal/model"
	"banger/internal/system"
)

// machine is one that remembers what is asked of it.
type machine struct {
	status system.Status
	err    error
	asked  []string
}

func (m *machine) Install(_ context.Context, named, firecracker string) (int, error) {
	m.asked = append(m.asked, "install "+named+firecracker)
	return 1000, m.err
}

func (m *machine) Restart(context.Context) error {
	m.asked = append(m.asked, "restart")
	return m.err
}

func (m *machine) Status(context.Context) (system.Status, error) { return m.status, m.err }

func (m *machine) Uninstall(_ context.Context, purge bool) error {
	m.asked = append(m.asked, map[bool]string{false: "uninstall", true: "uninstall and purge"}[purge])
	return m.err
}

func (m *machine) run(t *testing.T, args string) result {
	t.Helper()
	var out, err bytes.Buffer
	a := newApp(Streams{In: strings.NewReader(""), Out: &out, Err: &err})
	a.dial = func(context.Context, bool) (*client.Client, error) {
		t.Error("a daemon was dialed")
		return nil, errors.New("dialed")
	}
	a.system = func() host { return m }
	code := a.run(t.Context(), strings.Fields("system "+args))
	return result{code, out.String(), err.String()}
}

func TestSystem(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"install": "install ", "install --owner alice": "install alice", "install --firecracker /fc": "install /fc", "restart": "restart",
		"uninstall": "uninstall", "uninstall --purge": "uninstall and purge",
	} {
		m := &machine{}
		if r := m.run(t, args); r.code != 0 || len(m.asked) != 1 || m.asked[0] != want {
			t.Errorf("%s: %+v, asked %q", args, r, m.asked)
		}
		m = &machine{err: model.Errorf(model.ErrDenied, "cannot do it")}
		if r := m.run(t, args); r.code != 1 || !strings.Contains(r.err, "banger: cannot do it") {
			t.Errorf("%s, failing: %+v", args, r)
		}
		m = &machine{}
		if r := m.run(t, args+" more"); r.code != 2 || len(m.asked) > 0 {
			t.Errorf("%s more: %+v, asked %q", args, r, m.asked)
		}
	}
}

func TestSystemStatus(t *testing.T) {
	t.Parallel()
	owner := 1000
	fine := system.ServiceStatus{Name: "storage", Socket: "/run/banger/storage.sock", Version: "v1"}
	deaf := system.ServiceStatus{Name: "network", Socket: "/run/banger/network.sock", Problem: "it is deaf", Fix: "shout"}
	for name, c := range map[string]struct {
		status system.Status
		args   string
		code   int
		out    string
		err    string
	}{
		"nothing":  {system.Status{}, "status", 1, "", "not installed"},
		"fine":     {system.Status{Installed: true, Owner: &owner, Services: []system.ServiceStatus{fine}}, "status", 0, "/run/banger/storage.sock: answers, version v1", ""},
		"one deaf": {system.Status{Installed: true, Owner: &owner, Services: []system.ServiceStatus{fine, deaf}}, "status", 1, "it is deaf; run: shout", ""},
		"partly":   {system.Status{Owner: &owner, Services: []system.ServiceStatus{fine}}, "status", 1, "uid 1000", ""},
		"JSON":     {system.Status{Installed: true, Owner: &owner, Services: []system.ServiceStatus{deaf}}, "status --format json", 1, `"problem": "it is deaf"`, ""},
		"no owner": {system.Status{Services: []system.ServiceStatus{}}, "status --format json", 1, `"owner": null`, ""},
	} {
		m := &machine{status: c.status}
		if r := m.run(t, c.args); r.code != c.code || !strings.Contains(r.out, c.out) || !strings.Contains(r.err, c.err) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
