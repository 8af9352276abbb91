package workspace

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"banger/internal/model"
	"banger/internal/rootedfs"
)

// matchLimit is how long matching ignore rules may take.
const matchLimit = time.Minute

// Limits of what comes out of a guest.
const (
	MaxBytes     = 2 * model.GiB   // of changed contents
	MaxFileBytes = 256 * model.MiB // of one: git holds a binary file in memory to make a patch of it
	maxNames     = 128 << 20       // bytes of all listed paths
	maxRuleFiles = 5_000
	batchFiles   = 2_000 // that a guest is asked for at once
	batchNames   = 256 << 10
)

// FetchOptions say what of a guest's files counts.
type FetchOptions struct {
	IncludeIgnored bool // also new files that the project's ignore rules name
	SkipRefused    bool // leave out what is refused instead of failing
	BaseCommit     string
	Tree           string // to Apply: the state that was reviewed, another one is refused; "" for any
}

// Problem is a file of a guest that is not taken, and why.
type Problem struct {
	Path string
	Why  string
}

// fetched is what a guest has now, as far as it is taken.
type fetched struct {
	store   store // holds the new contents, and borrows the others
	dir     string
	base    tree
	now     tree
	tree    id        // of now
	Refused []Problem // that would be dangerous to write
	Left    []Problem // that git has no place for
	Ignored int
	partial bool // Left has changes that a patch could have held
}

// close removes the contents.
func (f *fetched) close() error { return os.RemoveAll(f.dir) } // ours

// fetch asks a guest for its files and keeps those that changed in a store of their own for a moment.
func (w Workspace) fetch(ctx context.Context, g Guest, o FetchOptions, report model.Report) (_ *fetched, err error) {
	s, err := w.open()
	if err != nil {
		return nil, err
	}
	f := &fetched{}
	if f.base, err = listTree(ctx, s.git, id(w.Base.Tree)); err != nil {
		return nil, err
	}
	if f.dir, err = os.MkdirTemp(w.Scratch, "fetch-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if f.store, err = initStore(ctx, s.git, filepath.Join(f.dir, "git"), s.format, w.Dir); err != nil {
		return nil, err
	}
	report(model.Progress{Stage: "compare the workspace"})
	listed, err := f.list(ctx, g, w.Guest)
	if err != nil {
		return nil, err
	}
	if !o.IncludeIgnored {
		if err := f.dropIgnored(ctx, g, w, listed); err != nil {
			return nil, err
		}
	}
	return f, f.take(ctx, g, w.Guest, listed, report)
}

// list asks for all names and refuses a list that no tree of files has.
func (f *fetched) list(ctx context.Context, g Guest, root string) (map[string]GuestFile, error) {
	listed := map[string]GuestFile{}
	names := 0
	err := g.List(ctx, root, func(e GuestFile) error {
		if names += len(e.Path); len(listed) >= MaxFiles || names > maxNames {
			return model.Errorf(model.ErrInvalid, "cannot compare the workspace: the guest has more than %d files there; remove what is not needed", MaxFiles)
		}
		clean, err := rootedfs.Clean(e.Path)
		if _, twice := listed[e.Path]; err != nil || clean != e.Path || clean == "." || twice || e.Size < 0 {
			return model.Errorf(model.ErrCorrupt, "cannot compare the workspace: the guest lists %q, which is no possible name", shorten(e.Path))
		}
		switch {
		case e.Kind == KindGit && e.Path == ".git":
		case e.Kind == KindGit:
			f.Left = append(f.Left, Problem{e.Path, "a git repository in the project: its files are taken, its history is not"})
		case e.Kind == KindSpecial:
			f.Left = append(f.Left, Problem{e.Path, "a device, a FIFO or a socket"})
		default:
			listed[e.Path] = e
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for name := range listed {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, file := listed[dir]; file {
				return nil, model.Errorf(model.ErrCorrupt, "cannot compare the workspace: the guest lists %q below %q, which is a file", shorten(name), shorten(dir))
			}
		}
	}
	f.refuse(listed)
	return listed, nil
}

// refuse takes what must not be written by its name alone off the list.
func (f *fetched) refuse(listed map[string]GuestFile) {
	for name, e := range listed {
		why := refusedName(name)
		if why == "" && e.Kind == KindLink && (e.Target == "" || len(e.Target) > rootedfs.MaxPath || strings.ContainsRune(e.Target, 0)) {
			why = "it is a link to what no link can say"
		}
		if why == "" && e.Kind == KindLink && isModules(path.Base(name)) {
			why = "it is a link, and git follows none of that name"
		}
		if why != "" {
			f.Refused = append(f.Refused, Problem{name, why})
			delete(listed, name)
		}
	}
}

func shorten(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}

// dropIgnored drops the new files that the guest's own rules ignore. They are only ever read by git's own matcher, under
// a limit of time: patterns are input too.
func (f *fetched) dropIgnored(ctx context.Context, g Guest, w Workspace, listed map[string]GuestFile) error {
	var names, rules []string
	for name, e := range listed {
		if _, known := f.base[name]; !known {
			names = append(names, name)
		}
		if e.Kind == KindFile && isIgnoreFile(name) && e.Size <= maxIgnoreFile {
			rules = append(rules, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	if len(rules) > maxRuleFiles {
		return model.Errorf(model.ErrInvalid, "cannot compare the workspace: the guest has more than %d files of ignore rules there; add --include-ignored to read none of them", maxRuleFiles)
	}
	r := ignoreRules{store: f.store, scratch: f.dir, files: map[string][]byte{}, exclude: filepath.Join(w.Dir, "info", "exclude")}
	total := int64(0)
	err := f.read(ctx, g, w.Guest, rules, func(name string, _ Mode, size int64, content io.Reader) error {
		if total += size; size > maxIgnoreFile || total > 64*maxIgnoreFile {
			return model.Errorf(model.ErrInvalid, "cannot compare the workspace: the guest's ignore rules are larger than any project's; add --include-ignored to read none of them")
		}
		text, err := io.ReadAll(content)
		r.files[name] = text
		return err
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, matchLimit, model.Errorf(model.ErrTimeout,
		"cannot compare the workspace: its ignore rules take longer than %s to match; add --include-ignored to read none of them", matchLimit))
	defer cancel()
	ignored, err := r.ignored(ctx, names)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	for _, name := range names {
		if ignored[name] {
			delete(listed, name)
			f.Ignored++
		}
	}
	return nil
}

// take fetches what differs and makes the tree.
func (f *fetched) take(ctx context.Context, g Guest, root string, listed map[string]GuestFile, report model.Report) error {
	links := map[string]string{}
	for name, e := range listed {
		if e.Kind == KindLink {
			links[name] = e.Target
		}
	}
	in, err := f.store.newImporter(ctx)
	if err != nil {
		return err
	}
	defer in.abort()
	f.now = tree{}
	var same, want []string
	for name, e := range listed {
		before, known := f.base[name]
		switch {
		case e.Kind == KindLink:
			err = f.takeLink(in, name, e.Target, links)
		case known && before.mode != ModeLink && before.size == e.Size:
			same = append(same, name)
		default:
			want = append(want, name)
		}
		if err != nil {
			return err
		}
	}
	sort.Strings(same)
	changed, err := f.compare(ctx, g, root, same, listed)
	if err != nil {
		return err
	}
	want = append(want, changed...)
	sort.Strings(want)
	if err := f.affordable(want, listed); err != nil {
		return err
	}
	done := int64(0)
	err = f.read(ctx, g, root, want, func(name string, m Mode, size int64, content io.Reader) error {
		if done += size; done > MaxBytes || size > MaxFileBytes {
			return tooLarge(name)
		}
		made, err := in.blob(size, content)
		f.now[name] = leaf{m, made, size}
		report(model.Progress{Stage: "fetch what changed", Done: done})
		return err
	})
	if err != nil {
		return err
	}
	f.keepRefused()
	f.tree, err = in.finish(f.now)
	return err
}

// takeLink takes a link, unless it leads out and is new.
func (f *fetched) takeLink(in *importer, name, target string, links map[string]string) error {
	made, err := in.content([]byte(target))
	if err != nil {
		return err
	}
	now := leaf{ModeLink, made, int64(len(target))}
	if f.base[name] == now {
		f.now[name] = now // the user's own
		return nil
	}
	if why := refusedLink(name, target, links); why != "" {
		f.Refused = append(f.Refused, Problem{name, why})
		return nil
	}
	f.now[name] = now
	return nil
}

// compare takes over the files that are still what was copied in, and returns the others.
func (f *fetched) compare(ctx context.Context, g Guest, root string, names []string, listed map[string]GuestFile) (changed []string, err error) {
	for batch := range batches(names) {
		hashes, err := g.Hash(ctx, root, string(f.store.format), batch)
		if err != nil {
			return nil, err
		}
		if len(hashes) != len(batch) {
			return nil, model.Errorf(model.ErrCorrupt, "cannot compare the workspace: asked for %d files, the guest answered for %d", len(batch), len(hashes))
		}
		for i, name := range batch {
			before := f.base[name]
			if id(hashes[i]) != before.id {
				changed = append(changed, name)
				continue
			}
			before.mode = ModeFile
			if listed[name].Exec {
				before.mode = ModeExec
			}
			f.now[name] = before
		}
	}
	return changed, nil
}

// affordable refuses early what is too large, by the sizes that the guest lists.
func (f *fetched) affordable(want []string, listed map[string]GuestFile) error {
	total, largest := int64(0), ""
	for _, name := range want {
		size := listed[name].Size
		if largest == "" || size > listed[largest].Size {
			largest = name
		}
		if total += size; total > MaxBytes || size > MaxFileBytes {
			return tooLarge(largest)
		}
	}
	return nil
}

func tooLarge(name string) error {
	return model.Errorf(model.ErrInvalid, "cannot take what changed: %q is too large; a file may have %s, and all of them %s: remove it in the VM, or name it in .gitignore there", shorten(name), model.FormatSize(MaxFileBytes), model.FormatSize(MaxBytes))
}

// keepRefused leaves files that are refused as they were.
func (f *fetched) keepRefused() {
	for _, p := range f.Refused {
		if before, known := f.base[p.Path]; known {
			f.now[p.Path] = before
		}
	}
	sort.Slice(f.Refused, func(i, j int) bool { return f.Refused[i].Path < f.Refused[j].Path })
	sort.Slice(f.Left, func(i, j int) bool { return f.Left[i].Path < f.Left[j].Path })
}

// read asks for contents. A guest that sends what was not asked for is not listened to any longer.
func (f *fetched) read(ctx context.Context, g Guest, root string, names []string, visit func(name string, m Mode, size int64, content io.Reader) error) error {
	for batch := range batches(names) {
		if err := f.readBatch(ctx, g, root, batch, visit); err != nil {
			return err
		}
	}
	return nil
}

func (f *fetched) readBatch(ctx context.Context, g Guest, root string, batch []string, visit func(name string, m Mode, size int64, content io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := map[string]bool{}
	for _, name := range batch {
		asked[name] = true
	}
	pipe, feed := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := g.Read(ctx, root, batch, feed)
		_ = feed.CloseWithError(err)
		sent <- err
	}()
	err := func() error {
		in := tar.NewReader(pipe)
		for {
			h, err := in.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if !asked[h.Name] || h.Typeflag != tar.TypeReg {
				return model.Errorf(model.ErrCorrupt, "the guest sends %q, which it was not asked for", shorten(h.Name))
			}
			delete(asked, h.Name)
			m := ModeFile
			if h.Mode&0o100 != 0 {
				m = ModeExec
			}
			if err := visit(h.Name, m, h.Size, in); err != nil {
				return fmt.Errorf("cannot take %q: %w", shorten(h.Name), err)
			}
		}
	}()
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(pipe, 1<<20)) // the end of the archive
	}
	cancelled := err != nil
	if cancelled {
		cancel()
	}
	_ = pipe.CloseWithError(io.ErrClosedPipe)
	if from := <-sent; from != nil && !cancelled && !errors.Is(from, io.ErrClosedPipe) {
		return from
	}
	return err
}

// batches cuts names into what a guest may be asked for at once.
func batches(names []string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for len(names) > 0 {
			n, size := 0, 0
			for n < len(names) && n < batchFiles && (n == 0 || size+len(names[n]) < batchNames) {
				size += len(names[n])
				n++
			}
			if !yield(names[:n]) {
				return
			}
			names = names[n:]
		}
	}
}
