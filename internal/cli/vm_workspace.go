package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"banger/client"
	"banger/internal/model"
)

func newVMWorkspace(a *app) *cobra.Command {
	return group("workspace", "Take a project into a VM, and a reviewed patch out of it",
		newWorkspacePrepare(a), newWorkspaceShow(a), newWorkspaceDiff(a), newWorkspaceExport(a), newWorkspaceUndo(a),
	)
}

// projectFlags say what of a project goes in; run and prepare share them.
type projectFlags struct {
	at        string
	untracked bool
	secrets   bool
	branch    string
	from      string
	history   historyFlag
	dryRun    bool
}

func addProject(cmd *cobra.Command, f *projectFlags) {
	fs := cmd.Flags()
	fs.StringVar(&f.at, "at", "", "`DIR` of the guest that the project becomes (default: its name in /root)")
	fs.BoolVar(&f.untracked, "include-untracked", false, "also files that git does not track and does not ignore")
	fs.BoolVar(&f.secrets, "include-secrets", false, "also files that look like credentials")
	fs.StringVar(&f.branch, "branch", "", "name of the guest's branch (default: the host's)")
	fs.StringVar(&f.from, "from", "", "`REV` whose files go in, in place of the work tree's; with --branch")
	fs.Var(&f.history, "history", "how many commits go in: a number, or full (default 1)")
	fs.BoolVar(&f.dryRun, "dry-run", false, "list what would go in, and do nothing")
}

// given says whether any of them stands in the command line.
func (f *projectFlags) given() bool { return *f != projectFlags{} }

// spec is the project at a path of ours.
func (f *projectFlags) spec(path string) (*client.WorkspaceSpec, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if !utf8.ValidString(abs) {
		return nil, model.Errorf(model.ErrInvalid, "cannot copy %q: its path is not UTF-8", abs)
	}
	return &client.WorkspaceSpec{Path: abs, At: f.at, Options: client.WorkspaceOptions{
		IncludeUntracked: f.untracked, IncludeSecrets: f.secrets, Branch: f.branch, From: f.from, History: int(f.history),
	}}, nil
}

// historyFlag is a positive number or full; 0 stands for not given.
type historyFlag int

func (f *historyFlag) Type() string { return "number|full" }

func (f *historyFlag) String() string {
	switch *f {
	case 0:
		return ""
	case model.FullHistory:
		return "full"
	}
	return strconv.Itoa(int(*f))
}

func (f *historyFlag) Set(text string) error {
	if text == "full" {
		*f = model.FullHistory
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 31)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no depth: write a positive number or full", text)
	}
	*f = historyFlag(n)
	return nil
}

// showPlan prints what would go in.
func (a *app) showPlan(ctx context.Context, c *client.Client, spec client.WorkspaceSpec) error {
	p, err := c.PlanWorkspace(ctx, spec)
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(p.Files))
	for _, f := range p.Files {
		name := f.Path
		if f.Target != "" {
			name += " -> " + f.Target
		}
		rows = append(rows, []string{f.Mode, strconv.FormatInt(f.Size, 10), name})
	}
	if err := a.writeTable([]string{"MODE", "BYTES", "FILE"}, rows); err != nil {
		return err
	}
	for _, l := range p.Left {
		a.say("left out (" + l.Reason + "): " + l.Path)
	}
	files := "files"
	if len(p.Files) == 1 {
		files = "file"
	}
	a.say(fmt.Sprintf("%d %s, %s, would go to %s", len(p.Files), files, size(p.Bytes), p.Guest))
	return nil
}

// lines reports an error of several lines; what is in them is quoted where it comes from a guest.
func (a *app) lines(err error) error {
	if err == nil || !strings.Contains(err.Error(), "\n") {
		return err
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		a.say(line)
	}
	return &statusError{exitError}
}

// review lists what a guest has changed, for a reader: every file, what runs by itself, and what is not in the patch.
func (a *app) review(w io.Writer, r client.Review) error {
	var b strings.Builder
	writeChanges(&b, r.Changes)
	for _, p := range r.Refused {
		fmt.Fprintf(&b, "refused: %s: %s\n", safeLine(p.Path), safeLine(p.Why))
	}
	for _, p := range r.Left {
		fmt.Fprintf(&b, "left out: %s: %s\n", safeLine(p.Path), safeLine(p.Why))
	}
	if r.Ignored > 0 {
		files := "files"
		if r.Ignored == 1 {
			files = "file"
		}
		fmt.Fprintf(&b, "not counted: %d new %s that the project's ignore rules name (--include-ignored)\n", r.Ignored, files)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeChanges(b *strings.Builder, changes []client.ChangedFile) {
	for _, c := range changes {
		name := safeLine(c.Path)
		if c.OldPath != "" {
			name = safeLine(c.OldPath) + " => " + name
		}
		var notes []string
		switch {
		case c.NewMode == "120000":
			notes = append(notes, "a link to "+safeLine(c.Target))
		case c.NewMode != "" && c.OldMode != "" && c.NewMode != c.OldMode:
			notes = append(notes, "mode "+c.OldMode+" to "+c.NewMode)
		case c.NewMode == "100755":
			notes = append(notes, "executable")
		}
		switch {
		case c.Binary:
			notes = append(notes, "binary, "+size(c.Size))
		case c.Added+c.Deleted > 0:
			notes = append(notes, fmt.Sprintf("+%d -%d", c.Added, c.Deleted))
		}
		if c.Runs != "" {
			notes = append(notes, "LOOK AT IT: "+c.Runs)
		}
		fmt.Fprintf(b, "%-8s  %s", c.Status, name)
		if len(notes) > 0 {
			b.WriteString("  (" + strings.Join(notes, "; ") + ")")
		}
		b.WriteByte('\n')
	}
}

// canAsk says whether somebody sits there to answer a question.
func (a *app) canAsk() bool { return !a.noInput && isTerminal(a.In) && isTerminal(a.Err) }

// ask puts a question that y answers with yes. Where nobody can be asked, possible is false.
func (a *app) ask(question string) (yes, possible bool) {
	if !a.canAsk() {
		return false, false
	}
	_, _ = io.WriteString(a.Err, "banger: "+safeLine(question)+" [y/N] ")
	answer, _ := bufio.NewReader(io.LimitReader(a.In, 1<<10)).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", true
}

// isDirectory says whether a directory of ours has that name.
func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
