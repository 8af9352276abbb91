package workspace

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/model"
)

// Options say what of a project goes in, and as what.
type Options = model.WorkspaceOptions

// project is a directory of the host that is about to be copied.
type project struct {
	path string // absolute, links resolved
	name string
	git  git
	repo *repository // nil for a directory that is no work tree
}

// repository is what is known of a git work tree of the user's.
type repository struct {
	format  format
	info    string // the repository's own list of ignored files
	head    id     // commit, or "" on a branch without one
	branch  string // without refs/heads/, or "" when detached
	exclude string // the user's own list of ignored files, or ""
}

// openProject looks at a directory. One inside a work tree is refused: half a repository is not what anybody means.
func openProject(ctx context.Context, path string) (*project, error) {
	program, err := findGit()
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(path) {
		return nil, model.Errorf(model.ErrInvalid, "cannot copy %q: the daemon needs an absolute path", path)
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if !info.IsDir() {
		return nil, model.Errorf(model.ErrInvalid, "cannot copy %s: it is not a directory", path)
	}
	dir, err := os.Open(resolved)
	if err != nil {
		return nil, unreadable(path, err)
	}
	dir.Close()
	p := &project{path: resolved, name: projectName(resolved), git: git{path: program, dir: resolved}}
	p.git.safe, err = p.userSettings(ctx)
	if err != nil {
		return nil, err
	}
	top, err := p.git.line(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return p, p.noRepository(ctx, path, err)
	}
	if top != resolved {
		return nil, model.Errorf(model.ErrInvalid, "cannot copy %s: it lies inside the git work tree %s; give that directory", path, top)
	}
	p.repo, err = p.lookAt(ctx)
	return p, err
}

func unreadable(path string, err error) error {
	switch {
	case os.IsNotExist(err):
		return model.Errorf(model.ErrNotFound, "cannot copy %s: there is no such directory", path)
	case os.IsPermission(err):
		return model.Errorf(model.ErrDenied, "cannot copy %s: it may not be read: %w", path, err)
	}
	return model.Errorf(model.ErrInvalid, "cannot copy %s: %w", path, err)
}

// noRepository tells a directory without git, which is fine, from one whose git cannot be used, which is not.
func (p *project) noRepository(ctx context.Context, path string, cause error) error {
	if ctx.Err() != nil {
		return cause
	}
	if _, err := os.Lstat(filepath.Join(p.path, ".git")); err == nil {
		return model.Errorf(model.ErrInvalid, "cannot copy %s: git cannot read its repository: %w", path, cause)
	}
	if inside, err := p.git.line(ctx, "rev-parse", "--is-inside-git-dir"); err == nil && inside == "true" {
		return model.Errorf(model.ErrInvalid, "cannot copy %s: it is a git directory and not a work tree", path)
	}
	if strings.Contains(cause.Error(), "dubious ownership") {
		return model.Errorf(model.ErrDenied, "cannot copy %s: %w", path, cause)
	}
	return nil
}

// userSettings are the two settings of the user's own configuration that say which files there are: whose repositories
// may be read, and which files are ignored everywhere. The rest of it is not looked at.
func (p *project) userSettings(ctx context.Context) ([]string, error) {
	g := p.git
	g.env = []string{"GIT_CONFIG_GLOBAL="} // git's own places
	cmd := g.command(ctx, "config", "--global", "--includes", "-z", "--get-regexp", `^(safe\.directory|core\.excludesfile)$`)
	var env []string
	for _, e := range cmd.Env {
		if !strings.HasPrefix(e, "GIT_CONFIG_GLOBAL=") {
			env = append(env, e)
		}
	}
	cmd.Env = env
	out := &capped{left: 1 << 20}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, model.Errorf(model.ErrCanceled, "canceled: %w", context.Cause(ctx))
		}
		return nil, nil // there is no such file, or neither of the two is set
	}
	var args []string
	for _, f := range fields(out.Bytes()) {
		if key, value, ok := strings.Cut(f, "\n"); ok {
			args = append(args, "-c", key+"="+value)
		}
	}
	return args, nil
}

func (p *project) lookAt(ctx context.Context) (*repository, error) {
	r := &repository{}
	text, err := p.git.line(ctx, "rev-parse", "--show-object-format")
	if err != nil {
		return nil, err
	}
	r.format = format(text)
	if r.info, err = p.gitPath(ctx, "info/exclude"); err != nil {
		return nil, err
	}
	if head, err := p.git.line(ctx, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"); err == nil {
		r.head = id(head)
	} else if ctx.Err() != nil {
		return nil, err
	}
	if ref, err := p.git.line(ctx, "symbolic-ref", "--quiet", "HEAD"); err == nil {
		r.branch, _ = strings.CutPrefix(ref, "refs/heads/")
	}
	if exclude, err := p.git.line(ctx, "config", "--type=path", "--get", "core.excludesFile"); err == nil {
		r.exclude = exclude
	} else if home := os.Getenv("XDG_CONFIG_HOME"); home != "" {
		r.exclude = filepath.Join(home, "git", "ignore")
	} else if home := os.Getenv("HOME"); home != "" {
		r.exclude = filepath.Join(home, ".config", "git", "ignore")
	}
	return r, nil
}

// gitPath is where a file of the repository is, be it a work tree of its own or one of several.
func (p *project) gitPath(ctx context.Context, name string) (string, error) {
	where, err := p.git.line(ctx, "rev-parse", "--git-path", name)
	if err == nil && !filepath.IsAbs(where) {
		where = filepath.Join(p.path, where)
	}
	return where, err
}

// resolve finds the commit that a revision of the user's means.
func (p *project) resolve(ctx context.Context, revision string) (id, error) {
	if p.repo == nil {
		return "", model.Errorf(model.ErrInvalid, "cannot use %q: %s is no git work tree", revision, p.path)
	}
	text, err := p.git.line(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}")
	if err != nil {
		if ctx.Err() != nil {
			return "", err
		}
		return "", model.Errorf(model.ErrNotFound, "cannot use %q: it is no commit of %s; see: git -C %s log", revision, p.path, p.path)
	}
	if !id(text).valid() {
		return "", model.Errorf(model.ErrInvalid, "cannot use %q: it is no commit", revision)
	}
	return id(text), nil
}

// projectName is the directory's own name, as far as it can stand in a path of the guest.
func projectName(path string) string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '/' || r == '\ufffd' {
			return '-'
		}
		return r
	}, filepath.Base(path))
	if name == "" || name == "." || name == "-" || strings.HasPrefix(name, "-") {
		return "project"
	}
	return name
}
