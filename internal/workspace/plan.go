package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"banger/internal/model"
	"banger/internal/rootedfs"
)

// File is one file of a project that goes into a guest.
type File struct {
	Path   string // slash-separated, below the project; any bytes but NUL
	Mode   Mode
	Size   int64
	Target string // of a link
	id     id     // of the blob, for files that come from a commit
}

// LeftOut is a file that does not go in although one might expect it to.
type LeftOut struct {
	Path   string
	Reason Reason
}

// Reason says why a file is left out.
type Reason string

// The reasons.
const (
	ReasonSecret    Reason = "looks like a secret"
	ReasonIgnored   Reason = "named by .bangerignore"
	ReasonSpecial   Reason = "no file, directory or link"
	ReasonSubmodule Reason = "a submodule that is not checked out"
	ReasonInCommit  Reason = "a submodule, of which --from takes no files"
)

// MaxFiles bounds a project, in and out.
const MaxFiles = 500_000

// Plan is what would go into a guest.
type Plan struct {
	Files []File
	Left  []LeftOut
	Bytes int64
	Git   bool   // it is a work tree
	Head  string // the host's commit, or ""
	Base  string // the commit whose files the guest's git compares with, or ""; Head unless From was given

	project *project
	options Options
	scratch string          // a directory of ours for what lives only for a moment
	tracked tree            // of the base commit
	gone    map[string]bool // tracked files that are kept from the guest: their content must not get there in a commit
	nested  map[string]bool // submodules and repositories whose files go in as plain ones
}

// NewPlan looks at the project at an absolute path. It writes nothing but in the directory scratch, and there for a
// moment.
func NewPlan(ctx context.Context, scratch, dir string, o Options) (*Plan, error) {
	if err := validate(o); err != nil {
		return nil, err
	}
	p, err := openProject(ctx, dir)
	if err != nil {
		return nil, err
	}
	plan := &Plan{project: p, options: o, scratch: scratch, gone: map[string]bool{}, nested: map[string]bool{}}
	if p.repo == nil {
		if o.Branch != "" || o.From != "" || o.History != 0 {
			return nil, model.Errorf(model.ErrInvalid, "cannot use --branch, --from or --history: %s is no git work tree", dir)
		}
		return plan, plan.fromDirectory(ctx)
	}
	plan.Git, plan.Head, plan.Base = true, string(p.repo.head), string(p.repo.head)
	if o.From != "" {
		base, err := p.resolve(ctx, o.From)
		if err != nil {
			return nil, err
		}
		plan.Base = string(base)
	}
	if plan.Base != "" {
		if plan.tracked, err = p.treeOf(ctx, id(plan.Base)); err != nil {
			return nil, err
		}
	}
	if o.From != "" {
		err = plan.fromCommit(ctx)
	} else {
		err = plan.fromWorkTree(ctx)
	}
	return plan, err
}

// Path is the project's directory, with no link in it.
func (p *Plan) Path() string { return p.project.path }

// Name is what the project is called in a guest.
func (p *Plan) Name() string { return p.project.name }

func validate(o Options) error {
	switch {
	case o.From != "" && o.Branch == "":
		return model.Errorf(model.ErrInvalid, "--from needs --branch: name the guest's new branch")
	case o.History < model.FullHistory:
		return model.Errorf(model.ErrInvalid, "%d is no depth of a history: a positive number or full is", o.History)
	case o.Branch != "" && !validBranch(o.Branch):
		return model.Errorf(model.ErrInvalid, "%q cannot be the name of a branch", o.Branch)
	}
	return nil
}

// validBranch is stricter than git: what it lets through is a branch name everywhere.
func validBranch(name string) bool {
	if len(name) > 200 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-+@") != "" {
		return false
	}
	for _, part := range strings.Split(name, "/") {
		if part == "" || part[0] == '.' || part[0] == '-' || strings.HasSuffix(part, ".") || strings.HasSuffix(part, ".lock") || strings.Contains(part, "..") {
			return false
		}
	}
	return name != "@" && name != "HEAD" && !strings.Contains(name, "@{")
}

// fromWorkTree takes the tracked files as they lie in the work tree, and when asked to those that are not tracked.
func (p *Plan) fromWorkTree(ctx context.Context) error {
	root, err := rootedfs.Open(p.project.path)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := p.listRepository(ctx, root, "", 0); err != nil {
		return err
	}
	p.sorted()
	return nil
}

// maxNesting bounds submodules in submodules.
const maxNesting = 16

// listRepository takes the files of the work tree at prefix, which is empty or ends with a slash.
func (p *Plan) listRepository(ctx context.Context, root *rootedfs.Root, prefix string, depth int) error {
	if depth > maxNesting {
		return model.Errorf(model.ErrInvalid, "cannot copy %s: submodules lie more than %d deep in each other", p.project.path, maxNesting)
	}
	g := p.project.git
	g.dir = filepath.Join(p.project.path, filepath.FromSlash(prefix))
	out, err := g.output(ctx, nil, "ls-files", "-z", "--stage")
	if err != nil {
		return err
	}
	ignored, err := p.bangerIgnored(ctx, g)
	if err != nil {
		return err
	}
	last := ""
	for _, f := range fields(out) {
		info, name, ok := strings.Cut(f, "\t")
		if !ok || name == last { // the stages of a conflict
			continue
		}
		last = name
		mode := strings.HasPrefix(info, modeSubmodule.String())
		if err := p.take(ctx, root, prefix+name, mode, ignored[name], depth); err != nil {
			return err
		}
	}
	if !p.options.IncludeUntracked {
		return nil
	}
	out, err = g.output(ctx, nil, "ls-files", "-z", "--others", "--exclude-standard")
	if err != nil {
		return err
	}
	for _, name := range fields(out) {
		nested := strings.HasSuffix(name, "/") // a repository that git knows nothing of
		if err := p.take(ctx, root, prefix+strings.TrimSuffix(name, "/"), nested, ignored[name], depth); err != nil {
			return err
		}
	}
	return nil
}

// bangerIgnored are the files that .bangerignore names, in git's own reading of its patterns.
func (p *Plan) bangerIgnored(ctx context.Context, g git) (map[string]bool, error) {
	args := []string{"ls-files", "-z", "--cached", "--ignored", "--exclude-per-directory=.bangerignore"}
	if p.options.IncludeUntracked {
		args = append(args, "--others")
	}
	out, err := g.output(ctx, nil, args...)
	if err != nil {
		return nil, err
	}
	ignored := map[string]bool{}
	for _, name := range fields(out) {
		ignored[name] = true
	}
	return ignored, nil
}

// take adds one file of the work tree, or says why not. One that is gone is gone in the guest as well.
func (p *Plan) take(ctx context.Context, root *rootedfs.Root, name string, nested, ignored bool, depth int) error {
	if len(p.Files) >= MaxFiles {
		return model.Errorf(model.ErrInvalid, "cannot copy %s: it has more than %d files; name what is not needed in .bangerignore", p.project.path, MaxFiles)
	}
	if ignored {
		p.leave(name, ReasonIgnored)
		return nil
	}
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, model.ErrInvalid) {
		return nil // gone, or what lies above it has become a link: git says deleted too
	}
	if err != nil {
		return err
	}
	switch {
	case nested && info.Mode.IsDir():
		if _, err := root.Lstat(path.Join(name, ".git")); err == nil {
			p.nested[name] = true
			return p.listRepository(ctx, root, name+"/", depth+1)
		}
		p.leave(name, ReasonSubmodule)
		return nil
	case info.Mode.IsDir():
		return nil // a file that has become a directory
	case info.Mode&fs.ModeSymlink != 0:
		target, err := root.Readlink(name)
		if err != nil {
			return err
		}
		p.add(File{Path: name, Mode: ModeLink, Size: int64(len(target)), Target: target})
		return nil
	case !info.Mode.IsRegular():
		p.leave(name, ReasonSpecial)
		return nil
	}
	if !p.options.IncludeSecrets && p.secret(root, name) {
		p.leave(name, ReasonSecret)
		return nil
	}
	mode := ModeFile
	if info.Mode&0o100 != 0 {
		mode = ModeExec
	}
	p.add(File{Path: name, Mode: mode, Size: info.Size})
	return nil
}

func (p *Plan) secret(root *rootedfs.Root, name string) bool {
	if looksSecret(name) {
		return true
	}
	if !mayHoldTokens(name) {
		return false
	}
	f, err := root.Open(name)
	if err != nil {
		return true
	}
	defer f.Close()
	return holdsToken(f)
}

func (p *Plan) add(f File) {
	p.Files = append(p.Files, f)
	p.Bytes += f.Size
}

func (p *Plan) leave(name string, why Reason) {
	p.Left = append(p.Left, LeftOut{Path: name, Reason: why})
	if _, tracked := p.tracked[name]; tracked {
		p.gone[name] = true
	}
}

// Notes are lines for the user about what does not go in.
func (p *Plan) Notes() []string {
	var lines []string
	for _, why := range []struct {
		reason Reason
		hint   string
	}{
		{ReasonSecret, "; take them along with --include-secrets"},
		{ReasonSpecial, ""},
		{ReasonSubmodule, ""},
		{ReasonInCommit, ""},
	} {
		var names []string
		for _, l := range p.Left {
			if l.Reason == why.reason {
				names = append(names, strconv.Quote(l.Path))
			}
		}
		if n := len(names); n > maxNamed {
			names = append(names[:maxNamed], fmt.Sprintf("and %d more", n-maxNamed))
		}
		if len(names) > 0 {
			lines = append(lines, "left out ("+string(why.reason)+"): "+strings.Join(names, ", ")+why.hint)
		}
	}
	if len(p.gone) > 0 && p.options.History == 0 && p.Git {
		lines = append(lines, "the guest's base commit is one of its own, without the files that were left out")
	}
	return lines
}

// maxNamed is how many files one line names.
const maxNamed = 20

// sorted puts the files into the order of their names, once each.
func (p *Plan) sorted() {
	sort.Slice(p.Files, func(i, j int) bool { return p.Files[i].Path < p.Files[j].Path })
	sort.Slice(p.Left, func(i, j int) bool { return p.Left[i].Path < p.Left[j].Path })
}
