package workspace

import (
	"context"
	"path"
	"sort"
	"strconv"
	"strings"
	"time"

	"banger/internal/model"
)

// diffArgs are a comparison of two trees that nothing but the trees has a say in.
func diffArgs(more ...string) []string {
	return append([]string{"diff-tree", "-r", "--no-ext-diff", "--no-textconv", "--no-color", "--no-commit-id", "-l1000", "-M"}, more...)
}

// diffLimit is how long one comparison may take: contents can be made to take git very long.
const diffLimit = 10 * time.Minute

func limitDiff(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, diffLimit, model.Errorf(model.ErrTimeout, "comparing the contents takes longer than %s", diffLimit))
}

// changes lists what differs between a tree of the store and the guest's.
func (f *fetched) changes(ctx context.Context, from id) ([]Change, error) {
	ctx, cancel := limitDiff(ctx)
	defer cancel()
	out, err := f.store.output(ctx, nil, diffArgs("--raw", "--numstat", "-z", "--abbrev=64", string(from), string(f.tree))...)
	if err != nil {
		return nil, err
	}
	byPath := map[string]*Change{}
	var order []string
	for all := fields(out); len(all) > 0; {
		var err error
		if !strings.HasPrefix(all[0], ":") {
			if all, err = numstat(all, byPath); err != nil {
				return nil, err
			}
			continue
		}
		var c Change
		if c, all, err = rawChange(all); err != nil {
			return nil, err
		}
		c.Runs, c.Size = runner(c.Path), f.now[c.Path].size
		if dir, base := path.Split(c.Path); base == "config" && f.has(dir+"HEAD") {
			c.Runs = "git obeys it when it is run in that directory"
		}
		byPath[c.Path] = &c
		order = append(order, c.Path)
	}
	sort.Strings(order)
	changes := make([]Change, 0, len(order))
	for _, name := range order {
		changes = append(changes, *byPath[name])
	}
	return changes, f.targets(ctx, changes)
}

// has says whether the guest has a file of that path.
func (f *fetched) has(name string) bool {
	_, there := f.now[name]
	return there
}

func oddList(what string) error {
	return model.Errorf(model.ErrCorrupt, "cannot read git's list of changes: %q", shorten(what))
}

var statuses = map[byte]Status{'A': StatusAdded, 'M': StatusModified, 'D': StatusDeleted, 'T': StatusRetyped, 'R': StatusRenamed}

// rawChange reads ":mode mode id id status" and the one or two paths behind it.
func rawChange(all []string) (Change, []string, error) {
	parts := strings.Fields(all[0][1:])
	if len(parts) != 5 || len(all) < 2 {
		return Change{}, nil, oddList(all[0])
	}
	before, err1 := strconv.ParseUint(parts[0], 8, 32)
	after, err2 := strconv.ParseUint(parts[1], 8, 32)
	status, known := statuses[parts[4][0]]
	if err1 != nil || err2 != nil || !known || status == StatusRenamed && len(all) < 3 {
		return Change{}, nil, oddList(all[0])
	}
	c := Change{Path: all[1], Status: status, OldMode: Mode(before), NewMode: Mode(after)}
	if status == StatusRenamed {
		c.OldPath, c.Path = all[1], all[2]
		return c, all[3:], nil
	}
	return c, all[2:], nil
}

// numstat reads "added TAB deleted TAB path", or with an empty path the two paths of a rename behind it.
func numstat(all []string, byPath map[string]*Change) ([]string, error) {
	parts := strings.SplitN(all[0], "\t", 3)
	if len(parts) != 3 {
		return nil, oddList(all[0])
	}
	name, rest := parts[2], all[1:]
	if name == "" {
		if len(rest) < 2 {
			return nil, oddList(all[0])
		}
		name, rest = rest[1], rest[2:]
	}
	c := byPath[name]
	if c == nil {
		return nil, oddList(name)
	}
	if parts[0] == "-" {
		c.Binary = true
		return rest, nil
	}
	var err1, err2 error
	c.Added, err1 = strconv.Atoi(parts[0])
	c.Deleted, err2 = strconv.Atoi(parts[1])
	if err1 != nil || err2 != nil {
		return nil, oddList(all[0])
	}
	return rest, nil
}

// targets fills in what new links say.
func (f *fetched) targets(ctx context.Context, changes []Change) error {
	var b *batch
	for i := range changes {
		c := &changes[i]
		if c.NewMode != ModeLink {
			continue
		}
		if b == nil {
			var err error
			if b, err = f.store.newBatch(ctx); err != nil {
				return err
			}
			defer b.close()
		}
		text, err := b.bytes(f.now[c.Path].id)
		if err != nil {
			return err
		}
		c.Target = string(text)
	}
	return nil
}
