package layers

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
)

// merge applies the records of the next layer. A whiteout hides what lower layers have, wherever it stands among the
// entries of its own; of these a later one counts.
func (t *tree) merge(ctx context.Context, records []record) error {
	t.begin()
	for i := range records {
		t.hideFirst(&records[i])
	}
	for i := range records {
		if i%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := t.apply(&records[i]); err != nil {
			return err
		}
	}
	return t.end()
}

func (t *tree) begin() {
	t.layer++
	t.pending, t.stashed = nil, nil
}

func (t *tree) end() error {
	for _, n := range t.pending {
		if !n.attached() {
			continue // something else took its name
		}
		if err := t.resolve(n); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) apply(r *record) error {
	if r.does == stash {
		if t.stashed == nil {
			t.stashed = map[string]*inode{}
		}
		t.stashed[r.name] = r.inode
		return nil
	}
	if r.does == opaque {
		dir, err := t.dir(r.name)
		if err == nil {
			t.prune(dir)
		}
		return err
	}
	if r.name == "." {
		return t.applyRoot(r)
	}
	in, base := split(r.name)
	dir, err := t.dir(in)
	if err != nil {
		return err
	}
	switch old := dir.children[base]; {
	case r.does == hide:
		t.hide(old)
	case r.does == remove:
		delete(dir.children, base)
	case r.does == link:
		return t.link(dir, base, r.inode)
	case r.inode.kind == tar.TypeDir && old != nil && old.isDir():
		old.inode, old.layer = r.inode, t.layer
		t.mark(old)
	default:
		_, err = t.put(dir, base, r.inode)
	}
	return err
}

// hideFirst applies a whiteout before the other entries of its layer, so that none of them lands below a symbolic link that
// it hides. Only where no link leads to it: such a link may be about to be replaced.
func (t *tree) hideFirst(r *record) {
	if r.does != hide && r.does != opaque {
		return
	}
	dir, base := r.name, ""
	if r.does == hide {
		dir, base = split(r.name)
	}
	p, err := t.find(dir)
	switch {
	case err != nil || len(p.missing) > 0 || p.links > 0:
	case r.does == hide:
		t.hide(p.at.children[base])
	default:
		t.prune(p.at)
	}
}

func (t *tree) applyRoot(r *record) error {
	if r.does != put {
		return errors.New("the image's root can only be a directory")
	}
	t.root.inode, t.root.layer = r.inode, t.layer
	t.mark(t.root)
	return nil
}

// hide takes away what lower layers have under a name.
func (t *tree) hide(n *node) {
	switch {
	case n == nil:
	case n.isDir() && n.seen == t.layer:
		t.prune(n)
		if n.layer != t.layer {
			n.inode, n.layer = implied(), t.layer // its description was the lower layer's
		}
	case n.layer != t.layer:
		delete(n.parent.children, n.name)
	}
}

// prune takes away what lower layers have in a directory. Doing it again in the same layer would find nothing.
func (t *tree) prune(dir *node) {
	if dir.pruned == t.layer {
		return
	}
	dir.pruned = t.layer
	for _, child := range dir.children {
		t.hide(child)
	}
}

// pendingLink is the kind of a name that will be a hard link once the layer's other entries are there. To all others it is
// a file.
const pendingLink = 0xff

// link makes a name a hard link. What it is linked to may stand later in the layer, also when a lower layer has a file
// of that name.
func (t *tree) link(dir *node, base string, i *inode) error {
	target := t.lookup(i.link)
	switch {
	case target != nil && target == dir.children[base] && !target.isDir() && target.inode.kind != pendingLink:
		return nil // listed twice, it was archived as a link to itself
	case target != nil && target.layer == t.layer && !target.isDir() && target.inode.kind != pendingLink:
		_, err := t.put(dir, base, target.inode)
		return err
	}
	i.kind = pendingLink
	n, err := t.put(dir, base, i)
	t.pending = append(t.pending, n)
	return err
}

// resolve makes a pending name, and those that it depends on, hard links.
func (t *tree) resolve(n *node) error {
	var chain []*node
	for n.inode.kind == pendingLink {
		if len(chain) > len(t.pending) {
			return fmt.Errorf("%.80q is a hard link to itself", n.path())
		}
		chain = append(chain, n)
		target := n.inode.link
		if i := t.stashed[target]; i != nil {
			n = &node{inode: i}
			break
		}
		next := t.lookup(target)
		switch {
		case next == nil:
			return fmt.Errorf("%.80q is a hard link to %.80q, which is not there", n.path(), target)
		case next.isDir():
			return fmt.Errorf("%.80q is a hard link to %.80q, which is a directory", n.path(), target)
		}
		n = next
	}
	for _, c := range chain {
		c.inode = n.inode
	}
	return nil
}
