//go:build crash

package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/client"
	"banger/internal/crash"
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
