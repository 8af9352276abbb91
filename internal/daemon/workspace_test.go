package daemon_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"banger/client"
	"banger/internal/model"
)

// TestWhatADeletionWouldLose follows a VM that changes its project. What it changed lies in its disk only until the user
// has it, and once it does not run nobody can ask it.
func TestWhatADeletionWouldLose(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	cmd := h.start()
	c := h.dial()
	project := filepath.Join(h.root, "project")
	writeFiles(t, project, "old")
	v := h.withProject(c, project)
	inside := filepath.Join(guestRoot(t, v), "root", "project")
	do := func(what string, op *client.Operation, err error) {
		t.Helper()
		if err == nil {
			_, err = op.Wait(nil)
		}
		if err != nil {
			t.Fatal(what, err)
		}
	}
	stop := func() {
		t.Helper()
		op, err := c.Stop(t.Context(), v.ID, time.Second)
		do("stop", op, err)
	}
	start := func() {
		t.Helper()
		op, err := c.Start(t.Context(), v.ID)
		do("start", op, err)
	}
	kill := func() {
		t.Helper()
		op, err := c.Kill(t.Context(), v.ID)
		do("kill", op, err)
	}
	loses := func(when string, want bool) {
		t.Helper()
		got, err := c.Unexported(t.Context(), v.ID)
		if err != nil || (got != "") != want {
			t.Errorf("%s: %q, %v; want something to lose: %v", when, got, err, want)
		}
	}
	apply := func() {
		t.Helper()
		if _, err := c.ApplyWorkspace(t.Context(), client.ApplyRequest{VM: v.ID}); err != nil {
			t.Fatal(err)
		}
	}
	use(t, c, v)
	stop()
	loses("a stop that found nothing", false)
	start()
	kill()
	loses("killed in use, with nothing to compare", true)
	start()
	writeFiles(t, inside, "new")
	apply()
	loses("running, after an apply", false)
	stop()
	loses("stopped, after an apply", false)
	if _, err := c.UndoWorkspace(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	loses("undone while it was stopped", true)
	start()
	apply()
	if _, err := c.UndoWorkspace(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	stop()
	loses("undone while it ran", true)
	start()
	apply()
	writeFiles(t, inside, "later") // by what ran during the export already
	stop()
	loses("written to after the export", true)
	start()
	if err := export(c, v); err != nil {
		t.Fatal(err)
	}
	stop()
	loses("stopped, after an export", false)
	h.stop(cmd)
}

// use runs the first command in a VM.
func use(t *testing.T, c *client.Client, v client.VM) {
	t.Helper()
	x, err := c.Exec(t.Context(), client.ExecRequest{VM: v.ID, Argv: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	x.Close()
	for deadline := time.Now().Add(time.Minute); ; { // it is recorded a moment later
		found, err := c.Resolve(t.Context(), []string{v.ID})
		if err != nil || found[0].Err != nil || time.Now().After(deadline) {
			t.Fatal("the use was not recorded", found, err)
		}
		if found[0].VM.UsedAt != nil {
			return
		}
	}
}

// export takes a patch and says so.
func export(c *client.Client, v client.VM) error {
	tree := ""
	err := c.DiffWorkspace(context.Background(), client.DiffRequest{VM: v.ID}, func(r client.Review) error { tree = r.Tree; return nil }, io.Discard)
	if err != nil {
		return err
	}
	return c.MarkExported(context.Background(), v.ID, tree)
}

// withProject makes a VM with a project in it.
func (h *host) withProject(c *client.Client, project string) client.VM {
	h.t.Helper()
	op, err := c.Create(h.t.Context(), client.CreateRequest{Name: "box", DiskBytes: model.MinDiskBytes, Start: true})
	if err != nil {
		h.t.Fatal(err)
	}
	made, err := op.Wait(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(guestRoot(h.t, *made.VM), "root"), 0o755); err != nil {
		h.t.Fatal(err)
	}
	op, err = c.PrepareWorkspace(context.Background(), made.VM.ID, client.WorkspaceSpec{Path: project})
	if err == nil {
		made, err = op.Wait(nil)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return *made.VM
}

// guestRoot is the directory that is the fake guest's root.
func guestRoot(t *testing.T, v client.VM) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(v.Dir, "*.files"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the fake guest's files: %v %v", found, err)
	}
	return found[0]
}

func writeFiles(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
