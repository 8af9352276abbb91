package workspace

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/model"
	"banger/internal/rootedfs"
)

// fromDirectory takes the files of a directory that is no work tree, without those that its ignore files name. git does
// the listing, with a repository of ours for a moment.
func (p *Plan) fromDirectory(ctx context.Context) error {
	dir, err := os.MkdirTemp(p.scratch, "plan-")
	if err != nil {
		return err
	}
	defer removeOwn(dir)
	s, err := initStore(ctx, p.project.git, filepath.Join(dir, "git"), formatSHA1, "")
	if err != nil {
		return err
	}
	root, err := rootedfs.Open(p.project.path)
	if err != nil {
		return err
	}
	defer root.Close()
	g := p.project.git.own(s.dir, "GIT_WORK_TREE="+p.project.path)
	g.dir, g.safe = p.project.path, p.project.git.safe
	out, err := g.output(ctx, nil, "ls-files", "-z", "--others", "--exclude-standard")
	if err != nil {
		return err
	}
	left, err := g.output(ctx, nil, "ls-files", "-z", "--others", "--ignored", "--exclude-per-directory=.bangerignore")
	if err != nil {
		return err
	}
	ignored := map[string]bool{}
	for _, name := range fields(left) {
		ignored[name] = true
	}
	for _, name := range fields(out) {
		nested := strings.HasSuffix(name, "/")
		name = strings.TrimSuffix(name, "/")
		if err := p.take(ctx, root, name, nested, ignored[name], 0); err != nil {
			return err
		}
	}
	p.sorted()
	return nil
}

// fromCommit takes the files of a commit and looks at no work tree.
func (p *Plan) fromCommit(ctx context.Context) error {
	if len(p.tracked) > MaxFiles {
		return model.Errorf(model.ErrInvalid, "cannot copy %s: %s has more than %d files", p.project.path, p.options.From, MaxFiles)
	}
	ignored, err := p.ignoredInCommit(ctx)
	if err != nil {
		return err
	}
	modules, err := p.project.submodulesOf(ctx, id(p.Base))
	if err != nil {
		return err
	}
	for _, name := range modules {
		p.leave(name, ReasonInCommit)
	}
	for name, l := range p.tracked {
		switch {
		case ignored[name]:
			p.leave(name, ReasonIgnored)
			continue
		case !p.options.IncludeSecrets && l.mode != ModeLink && p.secretBlob(ctx, name, l):
			p.leave(name, ReasonSecret)
			continue
		}
		f := File{Path: name, Mode: l.mode, Size: l.size, id: l.id}
		if l.mode == ModeLink {
			target, err := p.project.git.output(ctx, nil, "cat-file", "blob", string(l.id))
			if err != nil {
				return err
			}
			f.Target = string(target)
		}
		p.add(f)
	}
	p.sorted()
	return nil
}

func (p *Plan) secretBlob(ctx context.Context, name string, l leaf) bool {
	if looksSecret(name) {
		return true
	}
	if !mayHoldTokens(name) {
		return false
	}
	content, err := p.project.git.output(ctx, nil, "cat-file", "blob", string(l.id))
	return err != nil || holdsToken(bytes.NewReader(content))
}

// ignoredInCommit are the files of the base commit that its own .bangerignore files name.
func (p *Plan) ignoredInCommit(ctx context.Context) (map[string]bool, error) {
	rules := ignoreRules{scratch: p.scratch, files: map[string][]byte{}}
	names := make([]string, 0, len(p.tracked))
	for name, l := range p.tracked {
		names = append(names, name)
		if filepath.Base(name) != ".bangerignore" || l.mode == ModeLink || l.size > maxIgnoreFile {
			continue
		}
		content, err := p.project.git.output(ctx, nil, "cat-file", "blob", string(l.id))
		if err != nil {
			return nil, err
		}
		rules.files[name] = content
	}
	if len(rules.files) == 0 {
		return nil, nil
	}
	dir, err := os.MkdirTemp(p.scratch, "plan-")
	if err != nil {
		return nil, err
	}
	defer removeOwn(dir)
	if rules.store, err = initStore(ctx, p.project.git, filepath.Join(dir, "git"), p.project.repo.format, ""); err != nil {
		return nil, err
	}
	return rules.ignored(ctx, names)
}
