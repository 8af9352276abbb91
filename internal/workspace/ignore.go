package workspace

import (
	"context"
	"os"
	"path"
	"path/filepath"

	"banger/internal/model"
)

// maxIgnoreFile is the largest file of ignore rules that is looked at.
const maxIgnoreFile = 1 << 20

// ignoreRules says of files that lie nowhere which of them the rules of a tree ignore. git answers: the names stand in an
// index of ours, beside the rule files as entries that are not checked out, whose content git takes from the index.
type ignoreRules struct {
	store   store             // where the rule files' contents are put
	scratch string            // a directory of ours
	files   map[string][]byte // the rule files by their paths
	exclude string            // a file of further rules for the whole tree, or ""
}

// ignored returns those of names that .gitignore (and exclude) or .bangerignore name.
func (r ignoreRules) ignored(ctx context.Context, names []string) (map[string]bool, error) {
	dir, err := os.MkdirTemp(r.scratch, "ignore-")
	if err != nil {
		return nil, err
	}
	defer removeOwn(dir)
	work := filepath.Join(dir, "empty")
	if err := os.Mkdir(work, 0o700); err != nil {
		return nil, err
	}
	g := r.store.own(r.store.dir, "GIT_WORK_TREE="+work, "GIT_INDEX_FILE="+filepath.Join(dir, "index"))
	g.path, g.dir = r.store.path, work
	g.env[0] = "GIT_DIR=" + r.store.dir
	if r.exclude != "" {
		g.safe = []string{"-c", "core.excludesFile=" + r.exclude}
	} else {
		g.safe = []string{"-c", "core.excludesFile=/dev/null"}
	}
	entries, rules, err := r.index(ctx, names)
	if err != nil {
		return nil, err
	}
	if err := g.run(ctx, terminated(entries), nil, "update-index", "-z", "--add", "--index-info"); err != nil {
		return nil, err
	}
	if err := g.run(ctx, terminated(rules), nil, "update-index", "-z", "--skip-worktree", "--stdin"); err != nil {
		return nil, err
	}
	ignored := map[string]bool{}
	for _, which := range []string{"--exclude-standard", "--exclude-per-directory=.bangerignore"} {
		out, err := g.output(ctx, nil, "ls-files", "-z", "--cached", "--ignored", which)
		if err != nil {
			return nil, err
		}
		for _, name := range fields(out) {
			ignored[name] = true
		}
	}
	return ignored, nil
}

// index makes the entries. The content of a file that holds no rules does not matter: it is the empty one's name.
func (r ignoreRules) index(ctx context.Context, names []string) (entries, rules []string, err error) {
	in, err := r.store.newImporter(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer in.abort()
	empty, err := in.content(nil)
	if err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{}
	for name, content := range r.files {
		if len(content) > maxIgnoreFile {
			return nil, nil, model.Errorf(model.ErrInvalid, "cannot read %s: it is larger than %s", name, model.FormatSize(maxIgnoreFile))
		}
		rule, err := in.content(content)
		if err != nil {
			return nil, nil, err
		}
		entries = append(entries, ModeFile.String()+" "+string(rule)+"\t"+name)
		rules, seen[name] = append(rules, name), true
	}
	for _, name := range names {
		if !seen[name] {
			entries = append(entries, ModeFile.String()+" "+string(empty)+"\t"+name)
		}
	}
	_, err = in.finish(nil)
	return entries, rules, err
}

// isIgnoreFile says whether a file of that name holds rules.
func isIgnoreFile(name string) bool {
	base := path.Base(name)
	return base == ".gitignore" || base == ".bangerignore"
}
