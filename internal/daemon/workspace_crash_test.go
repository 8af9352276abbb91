//go:build crash

package daemon_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/client"
	"banger/internal/crash"
	"banger/internal/model"
)

// TestADaemonKilledInAnApplyLeavesAProjectWhole kills daemons while they write a guest's changes to the user's project,
// and wants the next one to have settled it before it serves: everything old or everything new, and usable after that.
func TestADaemonKilledInAnApplyLeavesAProjectWhole(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"workspace.staged#2", "workspace.forward.after", "workspace.converge#2", "workspace.record.before", "workspace.record.after"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			project := filepath.Join(h.root, "project")
			writeFiles(t, project, "old")
			cmd := h.start(crash.Env + "=" + point)
			c := h.dial()
			v := h.withProject(c, project)
			writeFiles(t, filepath.Join(guestRoot(t, v), "root", "project"), "new")
			if _, err := c.ApplyWorkspace(t.Context(), client.ApplyRequest{VM: v.ID}); err == nil {
				t.Error("an apply whose daemon died succeeded")
			}
			died(t, cmd, point)
			cmd = h.start()
			c = h.dial()
			first := readFiles(t, project)
			if first != "old old old" && first != "new new new" {
				t.Errorf("the project holds %q", first)
			}
			if left, _ := filepath.Glob(filepath.Join(project, ".banger-*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if first == "old old old" {
				if _, err := c.ApplyWorkspace(t.Context(), client.ApplyRequest{VM: v.ID}); err != nil {
					t.Error(err)
				}
			}
			if _, err := c.UndoWorkspace(t.Context(), v.ID); err != nil {
				t.Error(err)
			}
			if got := readFiles(t, project); got != "old old old" {
				t.Errorf("after the undo the project holds %q", got)
			}
			op, err := c.Delete(t.Context(), v.ID)
			if err == nil {
				_, err = op.Wait(nil)
			}
			if err != nil {
				t.Error(err)
			}
			h.stop(cmd)
			h.noLeaks(nil)
		})
	}
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

func readFiles(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	for i := range 3 {
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return strings.Join(all, " ")
}
