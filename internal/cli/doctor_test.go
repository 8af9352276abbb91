package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"banger/client"
)

// diagnose runs doctor over what was found, and returns what was asked for.
func diagnose(t *testing.T, found client.Diagnosis, failed error, args ...string) (result, client.DoctorRequest) {
	t.Helper()
	var out, err bytes.Buffer
	var asked client.DoctorRequest
	a := newApp(Streams{In: strings.NewReader(""), Out: &out, Err: &err})
	a.dial = func(context.Context, bool) (*client.Client, error) {
		t.Error("a daemon was dialed")
		return nil, errors.New("dialed")
	}
	a.doctor = func(_ context.Context, r client.DoctorRequest) (client.Diagnosis, error) {
		asked = r
		r.Progress("reading")
		return found, failed
	}
	code := a.run(t.Context(), append([]string{"doctor"}, args...))
	return result{code, out.String(), err.String()}, asked
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	fine := client.Check{Name: "host", Status: client.CheckOK, Detail: "a \x1b[31mhost", Fix: "nothing"}
	warning := client.Check{Name: "kvm", Status: client.CheckWarning, Detail: "slow", Fix: "buy another"}
	problem := client.Check{Name: "vmm", Status: client.CheckProblem, Detail: "missing", Fix: "install it"}
	leak := client.Leak{Kind: "process", What: "42", Why: "is forgotten"}
	for name, c := range map[string]struct {
		found client.Diagnosis
		args  string
		code  int
		says  []string
		not   []string
	}{
		"fine":     {client.Diagnosis{Checks: []client.Check{fine}}, "", 0, []string{"host", "ok"}, []string{"nothing", "\x1b", "LEAKED"}},
		"warnings": {client.Diagnosis{Checks: []client.Check{fine, warning}}, "", 0, []string{"slow", "run: buy another"}, nil},
		"problems": {client.Diagnosis{Checks: []client.Check{problem, warning}}, "", 1, []string{"missing", "run: install it", "slow"}, nil},
		"no leaks": {client.Diagnosis{Checks: []client.Check{fine}, Leaks: []client.Leak{}}, "--leaks", 0, nil, []string{"LEAKED"}},
		"leaks":    {client.Diagnosis{Checks: []client.Check{fine}, Leaks: []client.Leak{leak}}, "--leaks", 1, []string{"process", "42", "is forgotten"}, nil},
		"quiet":    {client.Diagnosis{Checks: []client.Check{fine, warning}}, "-q", 0, []string{"slow"}, []string{"host"}},
		"all well": {client.Diagnosis{Checks: []client.Check{fine}}, "--quiet", 0, nil, []string{"CHECK"}},
	} {
		r, asked := diagnose(t, c.found, nil, strings.Fields(c.args)...)
		if r.code != c.code {
			t.Errorf("%s: exit %d\n%s%s", name, r.code, r.out, r.err)
		}
		for _, s := range c.says {
			if !strings.Contains(r.out, s) {
				t.Errorf("%s: %q is not in\n%s", name, s, r.out)
			}
		}
		for _, s := range c.not {
			if strings.Contains(r.out, s) {
				t.Errorf("%s: %q is in\n%s", name, s, r.out)
			}
		}
		if asked.Leaks != (c.args == "--leaks") || asked.Verify {
			t.Errorf("%s: asked for %+v", name, asked)
		}
		if heard := strings.Contains(r.err, "reading"); heard == strings.Contains(c.args, "-q") {
			t.Errorf("%s: stderr is %q", name, r.err)
		}
	}
	if _, asked := diagnose(t, client.Diagnosis{}, nil, "--verify"); !asked.Verify {
		t.Error("--verify was not asked for")
	}
	if r, _ := diagnose(t, client.Diagnosis{}, errors.New("no home"), ""); r.code != 2 {
		t.Errorf("an argument: %+v", r)
	}
	if r, _ := diagnose(t, client.Diagnosis{}, errors.New("no home")); r.code != 1 || !strings.Contains(r.err, "no home") || r.out != "" {
		t.Errorf("an error: %+v", r)
	}
}

func TestDoctorJSON(t *testing.T) {
	t.Parallel()
	found := client.Diagnosis{Version: "v1", Checks: []client.Check{{Name: "host", Status: client.CheckOK, Detail: "fine"}}, Leaks: []client.Leak{{Kind: "file", What: "/x", Why: "lies there"}}}
	r, _ := diagnose(t, found, nil, "--leaks", "--format", "json")
	var got struct {
		OK      bool
		Version string
		Checks  []map[string]string
		Leaks   []map[string]string
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 1 {
		t.Fatalf("%v, exit %d: %s", err, r.code, r.out)
	}
	if got.OK || got.Version != "v1" || got.Checks[0]["name"] != "host" || got.Checks[0]["status"] != "ok" || got.Checks[0]["detail"] != "fine" {
		t.Errorf("%+v", got)
	}
	if _, has := got.Checks[0]["fix"]; !has || got.Leaks[0]["kind"] != "file" || got.Leaks[0]["what"] != "/x" || got.Leaks[0]["why"] != "lies there" {
		t.Errorf("%+v", got)
	}
	if r, _ := diagnose(t, client.Diagnosis{}, nil, "--format", "json"); r.code != 0 || !strings.Contains(r.out, `"ok": true`) || !strings.Contains(r.out, `"leaks": null`) {
		t.Errorf("%+v", r)
	}
}
