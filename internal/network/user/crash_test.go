//go:build crash

package user

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banger/internal/crash"
	"banger/internal/crash/crashtest"
	"banger/internal/model"
	"banger/internal/testenv"
)

// TestKilledAtAnyPoint kills the daemon of an installation whose former one had another netd. The next driver finds the netd
// that is there, or starts one, and has all VMs have their network; or has nobody have one. A netd that nobody needs ends.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	base := testenv.QuickDir(t)
	if socket, err := (life{}).OpenTap(t.Context(), ""); err != nil {
		t.Skipf("not run: needs packet sockets: %v", err)
	} else {
		socket.Close()
	}
	t.Cleanup(func() {
		eventually(t, "a banger-netd goes on for nobody", func() bool { return !anyProgramIn(t, base) })
	})
	for n, point := range crashtest.Points(t, "user.") {
		for _, begins := range []bool{true, false} {
			host := filepath.Join(base, fmt.Sprintf("%d-%v", n, begins))
			t.Run(fmt.Sprintf("%s,%v", point, begins), func(t *testing.T) {
				t.Parallel()
				killedAt(t, host, point, begins)
			})
		}
	}
}

// killedAt kills the daemon of an installation in host. The next one begins with the VMs that the last one had, or sweeps.
func killedAt(t *testing.T, host, point string, begins bool) {
	ids := []model.VMID{model.NewVMID(), model.NewVMID(), model.NewVMID()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	next := newLife(host, ids)
	socket := socketIn(next.d.options.Dirs.VM(ids[0]))
	for _, id := range ids {
		err = errors.Join(err, os.MkdirAll(next.d.options.Dirs.VM(id), 0o700))
	}
	for _, program := range []string{"fake-netd", "real-netd", "driver"} {
		err = errors.Join(err, os.Symlink(self, filepath.Join(host, program)))
	}
	if err := errors.Join(err, os.WriteFile(socket, nil, 0o600)); err != nil { // as the VMM has made it
		t.Fatal(err)
	}
	former := leave(t, host, "other-version")
	cmd := exec.Command(filepath.Join(host, "driver"), string(ids[0]), string(ids[1]), string(ids[2]))
	cmd.Env = append(os.Environ(), crash.Env+"="+point)
	if out, err := cmd.CombinedOutput(); !testenv.Killed(cmd) {
		t.Errorf("it was not killed there: %v, %s", err, out)
	}

	daemonLock(t, next.d)
	t.Cleanup(func() {
		if err := next.d.Sweep(context.Background(), nil); err != nil { // the test's own context has ended
			t.Error(err)
		}
		next.d.Close()
		if said, err := os.ReadFile(next.d.options.Dirs.NetdLog()); t.Failed() {
			t.Logf("banger-netd said:\n%s, %v", said, err)
		}
	})
	if begins {
		if err := next.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		vms := []model.VM{
			{ID: ids[0], Name: "socket", Network: "user", State: model.StateRunning},
			{ID: ids[1], Name: "jailed", Network: "user", State: model.StateRunning},
			{ID: ids[2], Name: "direct", Network: "bridge", State: model.StateRunning},
		}
		if got, err := next.d.Leaks(t.Context(), vms); len(got) > 0 || err != nil {
			t.Errorf("they run, and there is %+v, %v", got, err)
		}
		if err := next.end(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its socket is left: %v", err)
		}
	} else if err := next.d.Sweep(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := former.Wait(); err != nil {
		t.Errorf("the former netd: %v", err)
	}
	// One that was just started may not listen yet.
	eventually(t, "something is left", func() bool { return leaks(t, next.d) == "" })
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// anyProgramIn says whether any program that lies below a directory runs.
func anyProgramIn(t *testing.T, base string) bool {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Error(err)
	}
	for _, path := range all {
		if line, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(line), base+"/") {
			return true
		}
	}
	return false
}
