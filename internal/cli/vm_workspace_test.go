package cli

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/server"
	"banger/internal/server/servertest"
	"banger/internal/vm"
	"banger/internal/workspace"
)

// project is a workspace whose answers the test gives.
type project struct {
	server.Workspaces
	lost     string
	review   workspace.Review
	patch    string
	err      error
	exported []string
	applied  []workspace.FetchOptions
}

func (p *project) Unexported(context.Context, model.VMID) (string, error) { return p.lost, p.err }

func (p *project) DiffWorkspace(_ context.Context, _ model.VMID, _ workspace.FetchOptions, review func(workspace.Review) error, out io.Writer) error {
	if p.err != nil {
		return p.err
	}
	if err := review(p.review); err != nil || out == nil {
		return err
	}
	_, err := io.WriteString(out, p.patch)
	return err
}

func (p *project) MarkExported(_ context.Context, _ model.VMID, tree string) error {
	p.exported = append(p.exported, tree)
	return nil
}

func (p *project) ApplyWorkspace(_ context.Context, _ model.VMID, o workspace.FetchOptions) (workspace.Review, error) {
	p.applied = append(p.applied, o)
	return p.review, p.err
}

func withProject(t *testing.T, p *project) *bench {
	t.Helper()
	b := newBench(t)
	b.VMs.AddProject("box", model.WorkspacePaths{Host: "/home/me/repo", Guest: "/root/repo"})
	b.VMs.Workspaces = p
	return b
}

func TestDeleteAsksBeforeChangesAreLost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lost string
		args []string
		code int
		want string
		gone bool
	}{
		"changes":           {"it has changes", []string{"box"}, 1, "it has changes; take them out with: banger vm workspace export box", false},
		"changes, by force": {"it has changes", []string{"-f", "box"}, 0, "", true},
		"none":              {"", []string{"box"}, 0, "", true},
		"beside another":    {"it has changes", []string{"other", "box"}, 1, "it has changes", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := withProject(t, &project{lost: c.lost})
			b.VMs.Add("other", model.StateStopped)
			r := b.run(t, append([]string{"vm", "delete"}, c.args...)...)
			vms, _ := b.VMs.List(t.Context())
			gone := !slices.ContainsFunc(vms, func(v vm.View) bool { return v.Name == "box" })
			if r.code != c.code || !strings.Contains(r.err, c.want) || gone != c.gone {
				t.Errorf("code %d, gone %v, %s", r.code, gone, r.err)
			}
			if !c.gone && len(vms) != 2 {
				t.Error("the other one was deleted")
			}
		})
	}
}

func TestRunTakesAProject(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := newBench(t)
	b.VMs.Program = servertest.Exit(0)
	b.run(t, "vm", "run", "--at", "/srv/x", "--include-untracked", "--branch", "b", "--from", "v1", "--history", "full", dir, "--", "true").want(t, 0, "", "")
	w := b.VMs.Created()[0].Workspace
	if w == nil || w.Path != dir || w.At != "/srv/x" || w.Options != (model.WorkspaceOptions{IncludeUntracked: true, Branch: "b", From: "v1", History: model.FullHistory}) {
		t.Errorf("%+v", w)
	}
	for _, c := range []struct{ args, want string }{
		{"ls -- true", "no directory"}, {"ls", "banger vm run -- ls"}, {dir + " make", "after --"}, {"--include-secrets -- true", "need its directory"},
		{"--history 0 " + dir, "no depth"}, {"--history x " + dir, "no depth"},
	} {
		r := b.run(t, append([]string{"vm", "run"}, strings.Fields(c.args)...)...)
		if r.code != 125 || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: %d %s", c.args, r.code, r.err)
		}
	}
	if n := len(b.VMs.Created()); n != 1 {
		t.Errorf("%d VMs were asked for", n)
	}
}

func hostileReview() workspace.Review {
	return workspace.Review{
		Tree: strings.Repeat("a", 40),
		Changes: []workspace.Change{
			{Path: "a\x1b[2Jb\nc", Status: workspace.StatusModified, OldMode: workspace.ModeFile, NewMode: workspace.ModeExec, Added: 1},
			{Path: "l", Status: workspace.StatusAdded, NewMode: workspace.ModeLink, Target: "x\x07y"},
			{Path: "Makefile", OldPath: "old", Status: workspace.StatusRenamed, OldMode: workspace.ModeFile, NewMode: workspace.ModeFile, Runs: "make runs it"},
		},
		Refused: []workspace.Problem{{Path: "r\r", Why: "because\x9b"}},
		Ignored: 2,
	}
}

func TestDiffWritesNothingTerminalsObey(t *testing.T) {
	t.Parallel()
	b := withProject(t, &project{review: hostileReview(), patch: "the patch\n"})
	b.run(t, "vm", "workspace", "diff", "--list", "box").want(t, 0, `modified  a\x1b[2Jb\nc  (mode 100644 to 100755; +1 -0)
added     l  (a link to x\ay)
renamed   old => Makefile  (LOOK AT IT: make runs it)
refused: r\r: because?
not counted: 2 new files that the project's ignore rules name (--include-ignored)
`, "")
	if r := b.run(t, "vm", "workspace", "diff", "box"); r.out != "the patch\n" || strings.Contains(r.err, "\x1b") {
		t.Errorf("%+v", r)
	}
	if r := b.run(t, "vm", "workspace", "diff", "--format", "json", "box"); !strings.Contains(r.out, `"runs": "make runs it"`) {
		t.Errorf("%+v", r)
	}
}

func TestExportWritesWholeFilesOrNone(t *testing.T) {
	t.Parallel()
	good := hostileReview()
	good.Refused = nil
	p := &project{review: good, patch: "the patch\n"}
	b := withProject(t, p)
	file := filepath.Join(t.TempDir(), "p")
	if r := b.run(t, "vm", "workspace", "export", "-o", file, "box"); r.code != 0 || len(p.exported) != 1 || p.exported[0] != good.Tree {
		t.Errorf("%+v %v", r, p.exported)
	}
	if text, _ := os.ReadFile(file); string(text) != "the patch\n" {
		t.Errorf("the file holds %q", text)
	}
	p.review = hostileReview()
	r := b.run(t, "vm", "workspace", "export", "-o", file+"2", "box")
	if r.code != 1 || !strings.Contains(r.err, "dangerous to have on a host") || len(p.exported) != 1 {
		t.Errorf("%+v", r)
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	for _, args := range []string{"box", "--apply -o x box", "--apply --base-commit HEAD box", "--yes -o x box"} {
		if r := b.run(t, append([]string{"vm", "workspace", "export"}, strings.Fields(args)...)...); r.code != 2 {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

func TestApplyNamesEveryConflictOnALine(t *testing.T) {
	t.Parallel()
	p := &project{err: &workspace.ConflictError{Conflicts: []workspace.Conflict{{Path: "a\nb", Why: "has changed"}, {Path: "c", Why: "is gone"}}}}
	r := withProject(t, p).run(t, "vm", "workspace", "export", "--apply", "box")
	if r.code != 1 || strings.Count(r.err, "\n") != 4 || !strings.Contains(r.err, `banger:   "a\nb" has changed`) {
		t.Errorf("%d %q", r.code, r.err)
	}
}

func TestAnExportThatLeavesChangesOutIsNotRecorded(t *testing.T) {
	t.Parallel()
	p := &project{review: workspace.Review{Left: []workspace.Problem{{Path: "s/f", Why: "it lies in a submodule"}}}, patch: "p\n"}
	r := withProject(t, p).run(t, "vm", "workspace", "export", "--base-commit", "HEAD", "-o", filepath.Join(t.TempDir(), "p"), "box")
	if r.code != 0 || len(p.exported) != 0 || !strings.Contains(r.err, "left out: s/f") || !strings.Contains(r.err, "not all that changed is in the patch") {
		t.Errorf("%+v %v", r, p.exported)
	}
}

func TestAPatchThatCannotBeWrittenNamesItsPlace(t *testing.T) {
	t.Parallel()
	b := withProject(t, &project{patch: "p\n"})
	dir := t.TempDir()
	for file, want := range map[string]string{
		"/dev/null":        "is no regular file",
		dir + "/no/such/p": "cannot write p in the directory " + dir + "/no/such",
	} {
		r := b.run(t, "vm", "workspace", "export", "-o", file, "box")
		if r.code != 1 || !strings.Contains(r.err, want) || strings.Contains(r.err, ".tmp") || !strings.Contains(r.err, "--output") {
			t.Errorf("%s: %+v", file, r)
		}
	}
}

func TestOneChangeIsSpokenOfAsOne(t *testing.T) {
	t.Parallel()
	p := &project{review: workspace.Review{Changes: []workspace.Change{{Path: "a", Status: workspace.StatusModified}}}}
	if r := withProject(t, p).run(t, "vm", "workspace", "export", "--apply", "box"); !strings.Contains(r.err, "1 change is in /home/me/repo; take it back") {
		t.Errorf("%+v", r)
	}
}
