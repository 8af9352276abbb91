package workspace

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/model"
)

// guestRepository is the .git that a guest gets: made here, with the base commit, an index that agrees with it and a
// configuration of git's own defaults. No hook, remote, credential or setting of the user's is in it.
type guestRepository struct {
	plan *Plan
	git  git // of the new repository
	dir  string
}

// buildRepository makes the repository in dir, which is empty, and returns the commit that it is at.
func (p *Plan) buildRepository(ctx context.Context, dir string) (commit id, branch string, err error) {
	branch = p.options.Branch
	if branch == "" {
		branch = p.project.repo.branch
	}
	g := p.project.git
	g.safe, g.dir = nil, dir
	if err := g.run(ctx, nil, nil, "init", "--quiet", "--template=", "--object-format="+string(p.project.repo.format), "--initial-branch=main", dir); err != nil {
		return "", "", err
	}
	r := &guestRepository{plan: p, git: g.own(filepath.Join(dir, ".git"), "GIT_WORK_TREE="+dir), dir: filepath.Join(dir, ".git")}
	if branch != "" {
		if err := r.git.run(ctx, nil, nil, "symbolic-ref", "HEAD", "refs/heads/"+branch); err != nil {
			return "", "", err
		}
	}
	if p.Base == "" {
		return "", branch, nil // a branch without a commit, as on the host
	}
	if len(p.gone) > 0 && p.options.History == 0 {
		commit, err = r.rewritten(ctx)
	} else {
		commit, err = r.original(ctx)
	}
	if err != nil {
		return "", "", err
	}
	if branch != "" {
		err = r.git.run(ctx, nil, nil, "update-ref", "refs/heads/"+branch, string(commit))
	} else {
		err = r.git.run(ctx, nil, nil, "update-ref", "--no-deref", "HEAD", string(commit))
	}
	if err != nil {
		return "", "", err
	}
	if err := r.git.run(ctx, nil, nil, "read-tree", string(commit)); err != nil {
		return "", "", err
	}
	return commit, branch, r.skipGone(ctx)
}

// skipGone keeps git in the guest from calling the files that were left out deleted.
func (r *guestRepository) skipGone(ctx context.Context) error {
	if r.plan.options.History == 0 {
		return nil // the rewritten commit does not have them
	}
	var names []string
	for name := range r.plan.gone {
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil
	}
	return r.git.run(ctx, terminated(names), nil, "update-index", "-z", "--skip-worktree", "--stdin")
}

// rewritten makes a commit like the base commit, with neither the files that were left out nor parents: with the
// original's tree the guest would have what those files hold.
func (r *guestRepository) rewritten(ctx context.Context) (id, error) {
	var blobs, entries []string
	for name, l := range r.plan.tracked {
		if !r.plan.gone[name] {
			blobs = append(blobs, string(l.id))
			entries = append(entries, l.mode.String()+" "+string(l.id)+"\t"+name)
		}
	}
	if err := r.pack(ctx, blobs); err != nil {
		return "", err
	}
	if err := r.git.run(ctx, terminated(entries), nil, "update-index", "-z", "--index-info"); err != nil {
		return "", err
	}
	made, err := r.git.line(ctx, "write-tree")
	if err != nil {
		return "", err
	}
	raw, err := r.plan.project.git.output(ctx, nil, "cat-file", "commit", r.plan.Base)
	if err != nil {
		return "", err
	}
	out, err := r.git.output(ctx, bytes.NewReader(rewriteCommit(raw, id(made))), "hash-object", "-t", "commit", "-w", "--stdin")
	return id(strings.TrimSpace(string(out))), err
}

// rewriteCommit gives a commit another tree and takes its parents and signatures away.
func rewriteCommit(raw []byte, made id) []byte {
	head, message, _ := bytes.Cut(raw, []byte("\n\n"))
	var out bytes.Buffer
	out.WriteString("tree " + string(made) + "\n")
	for line := range strings.SplitSeq(string(head), "\n") {
		// Headers of several lines, such as signatures, go on with a space.
		for _, keep := range []string{"author ", "committer ", "encoding "} {
			if strings.HasPrefix(line, keep) {
				out.WriteString(line + "\n")
			}
		}
	}
	out.WriteByte('\n')
	out.Write(message)
	return out.Bytes()
}

// original brings the base commit as it is, with as much of its history as was asked for.
func (r *guestRepository) original(ctx context.Context) (id, error) {
	base := id(r.plan.Base)
	commits, shallow, err := r.plan.project.history(ctx, base, r.plan.options.History)
	if err != nil {
		return "", err
	}
	objects, err := r.plan.objectsOf(ctx, commits)
	if err != nil {
		return "", err
	}
	if err := r.pack(ctx, objects); err != nil {
		return "", err
	}
	if len(shallow) == 0 {
		return base, nil
	}
	return base, os.WriteFile(filepath.Join(r.dir, "shallow"), []byte(strings.Join(shallow, "\n")+"\n"), 0o600)
}

// history returns the commits at most depth deep, and those of them whose parents are not among them.
func (p *project) history(ctx context.Context, base id, depth int) (commits, shallow []string, err error) {
	if depth == 0 {
		depth = 1
	}
	args := []string{"rev-list", "--parents", string(base)}
	if depth == 1 {
		args = []string{"rev-list", "--parents", "--max-count=1", string(base)}
	}
	out, err := p.git.output(ctx, nil, args...)
	if err != nil {
		return nil, nil, err
	}
	parents := map[string][]string{}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\n"), "\n") {
		all := strings.Fields(line)
		if len(all) > 0 {
			parents[all[0]] = all[1:]
		}
	}
	cut, err := p.shallow(ctx)
	if err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{string(base): true}
	for level, d := []string{string(base)}, 1; len(level) > 0; d++ {
		var next []string
		for _, c := range level {
			commits = append(commits, c)
			if cut[c] || d == depth && len(parents[c]) > 0 {
				shallow = append(shallow, c)
			}
			for _, parent := range parents[c] {
				if d != depth && !seen[parent] {
					seen[parent] = true
					next = append(next, parent)
				}
			}
		}
		level = next
	}
	return commits, shallow, nil
}

// shallow are the commits at which the user's own repository has no parents though they had some.
func (p *project) shallow(ctx context.Context) (map[string]bool, error) {
	name, err := p.gitPath(ctx, "shallow")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	cut := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cut[strings.TrimSpace(line)] = true
	}
	return cut, nil
}

// objectsOf lists the objects of commits. A history that holds what looks like a secret is refused: nothing can take it
// out of there without making it another history.
func (p *Plan) objectsOf(ctx context.Context, commits []string) ([]string, error) {
	in := strings.NewReader(strings.Join(commits, "\n") + "\n")
	out, err := p.project.git.output(ctx, in, "rev-list", "--objects", "--no-walk=unsorted", "--stdin")
	if err != nil {
		return nil, err
	}
	var objects []string
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\n"), "\n") {
		name, path, _ := strings.Cut(line, " ")
		objects = append(objects, name)
		if p.options.History != 0 && !p.options.IncludeSecrets && path != "" && looksSecret(path) {
			return nil, model.Errorf(model.ErrInvalid, "cannot copy the history of %s: it holds %q, which looks like a secret; leave --history out, or add --include-secrets", p.project.path, path)
		}
	}
	return objects, nil
}

// pack brings objects of the user's repository over. Reading them writes nothing there.
func (r *guestRepository) pack(ctx context.Context, objects []string) error {
	if len(objects) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pipe, feed := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		in := strings.NewReader(strings.Join(objects, "\n") + "\n")
		err := r.plan.project.git.run(ctx, in, feed, "pack-objects", "--stdout", "-q", "--delta-base-offset")
		_ = feed.CloseWithError(err)
		packed <- err
	}()
	err := r.git.run(ctx, pipe, io.Discard, "index-pack", "--stdin")
	_ = pipe.CloseWithError(io.ErrClosedPipe)
	if from := <-packed; from != nil && !errors.Is(from, io.ErrClosedPipe) {
		return from
	}
	return err
}
