package client_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"banger/client"
	"banger/internal/procs"
	"banger/internal/server/servertest"
	"banger/internal/version"
)

// looker is a bangerd that only looks: a script.
func looker(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bangerd")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

const found = `echo '{"version":"dev","checks":[{"name":"host","status":"ok","detail":"fine","fix":""}],"leaks":[]}'`

func check(t *testing.T, d client.Diagnosis, name string) client.Check {
	t.Helper()
	i := slices.IndexFunc(d.Checks, func(c client.Check) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("there is no %s: %+v", name, d)
	}
	return d.Checks[i]
}

func TestDoctorRunsTheDaemonsProgram(t *testing.T) {
	t.Parallel()
	if version.Version != "dev" {
		t.Fatalf("the script says another version than %s", version.Version)
	}
	daemon := servertest.Start(t)
	var heard []string
	args := filepath.Join(t.TempDir(), "args")
	d, err := client.Doctor(t.Context(), client.Options{Dirs: daemon.Dirs, Daemon: looker(t, `echo "$*" >`+args+"; echo one >&2; echo two >&2; "+found)},
		client.DoctorRequest{Leaks: true, Verify: true, Progress: func(line string) { heard = append(heard, line) }})
	if err != nil || !d.Able() || check(t, d, "host").Detail != "fine" || d.Leaks == nil {
		t.Errorf("%+v, %v", d, err)
	}
	if c := check(t, d, "daemon"); c.Status != client.CheckOK || !strings.Contains(c.Detail, "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("%+v", c)
	}
	if !slices.Equal(heard, []string{"one", "two"}) {
		t.Errorf("heard %q", heard)
	}
	if got, err := os.ReadFile(args); err != nil || string(got) != "doctor --client dev --leaks --verify\n" {
		t.Errorf("it was run with %q, %v", got, err)
	}
}

func TestDoctorWithoutAUsefulProgram(t *testing.T) {
	t.Parallel()
	daemon := servertest.Start(t)
	for name, program := range map[string]string{
		"missing":  filepath.Join(t.TempDir(), "none"),
		"failing":  looker(t, "echo 'bangerd: no such luck' >&2; exit 1"),
		"rubbish":  looker(t, "echo hello"),
		"endless":  looker(t, "exec yes"),
		"silent":   looker(t, "exit 0"),
		"half way": looker(t, found+" | head -c 40"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := client.Doctor(t.Context(), client.Options{Dirs: daemon.Dirs, Daemon: program}, client.DoctorRequest{Leaks: true})
			if err != nil {
				t.Fatal(err)
			}
			c := check(t, d, "programs")
			if c.Status != client.CheckProblem || !strings.Contains(c.Detail, program) || d.Able() || d.Leaks == nil {
				t.Errorf("%+v", d)
			}
			if name == "failing" && !strings.Contains(c.Detail, "no such luck") {
				t.Errorf("what it said is not told: %+v", c)
			}
		})
	}
}

func TestDoctorIsCanceled(t *testing.T) {
	t.Parallel()
	daemon := servertest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := client.Doctor(ctx, client.Options{Dirs: daemon.Dirs, Daemon: looker(t, "echo begun >&2; exec sleep 600")},
		client.DoctorRequest{Progress: func(string) { cancel() }})
	if !errors.Is(err, client.ErrCanceled) {
		t.Errorf("%v", err)
	}
}

func TestDoctorOfADaemonThatIs(t *testing.T) {
	t.Parallel()
	look := func(t *testing.T, d *servertest.Daemon, program string) client.Check {
		t.Helper()
		found, err := client.Doctor(t.Context(), client.Options{Dirs: d.Dirs, Daemon: looker(t, program)}, client.DoctorRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return check(t, found, "daemon")
	}
	t.Run("absent", func(t *testing.T) {
		t.Parallel()
		d := servertest.Start(t)
		d.Close(t)
		if c := look(t, d, found); c.Status != client.CheckOK || !strings.Contains(c.Detail, "none runs") {
			t.Errorf("%+v", c)
		}
	})
	t.Run("of another version", func(t *testing.T) {
		t.Parallel()
		d := servertest.Start(t)
		if c := look(t, d, strings.Replace(found, `"dev"`, `"v9"`, 1)); c.Status != client.CheckWarning || c.Fix != "banger daemon restart" {
			t.Errorf("%+v", c)
		}
	})
	t.Run("one that does not answer", func(t *testing.T) {
		t.Parallel()
		d := servertest.Start(t)
		d.Close(t)
		lock, err := procs.TryLock(d.Dirs.Lock())
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		if c := look(t, d, found); c.Status != client.CheckProblem || c.Fix != "kill -KILL "+strconv.Itoa(os.Getpid()) {
			t.Errorf("%+v", c)
		}
	})
	t.Run("in an open directory", func(t *testing.T) {
		t.Parallel()
		d := servertest.Start(t)
		if err := os.Chmod(d.Dirs.State, 0o755); err != nil {
			t.Fatal(err)
		}
		if c := look(t, d, found); c.Status != client.CheckProblem || !strings.HasPrefix(c.Fix, "chmod 700 ") {
			t.Errorf("%+v", c)
		}
	})
	t.Run("with an open socket", func(t *testing.T) {
		t.Parallel()
		d := servertest.Start(t)
		if err := os.Chmod(d.Dirs.Socket(), 0o666); err != nil {
			t.Fatal(err)
		}
		if c := look(t, d, found); c.Status != client.CheckProblem || !strings.HasPrefix(c.Fix, "chmod 600 ") {
			t.Errorf("%+v", c)
		}
	})
}
