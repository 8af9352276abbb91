package layers

import (
	"archive/tar"
	"fmt"
	"strings"
)

// tree is the image as the layers merged so far make it.
type tree struct {
	root   *node
	budget *budget
	layer  uint16 // the one being merged, from 1
	// Of this layer: names that are hard links to something that it does not have yet, and the files that can only be
	// linked to.
	pending []*node
	stashed map[string]*inode
	last    *node // that was put here
}

// node is one name. The image's directories are nodes; other files are inodes, which several nodes may share.
type node struct {
	name     string
	parent   *node // nil for the root
	inode    *inode
	written  *inode           // what this name was written as already, or nil
	children map[string]*node // of a directory, made with its first one
	layer    uint16           // that put it here, or said what it is
	seen     uint16           // of a directory: the last layer that has something in it
	pruned   uint16           // of a directory: the last layer that hid all of it
}

// implied is what a directory is that no layer describes.
func implied() *inode { return &inode{kind: tar.TypeDir, mode: 0o755} }

func newTree(b *budget) *tree {
	return &tree{root: &node{name: ".", inode: implied()}, budget: b}
}

func (n *node) isDir() bool { return n.inode.kind == tar.TypeDir }

// path is the name from the root, which itself is ".".
func (n *node) path() string {
	if n.parent == nil {
		return n.name
	}
	parts := make([]string, 0, 16)
	for ; n.parent != nil; n = n.parent {
		parts = append(parts, n.name)
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		b.WriteString(parts[i])
		if i > 0 {
			b.WriteByte('/')
		}
	}
	return b.String()
}

// attached says whether a node is still in the tree.
func (n *node) attached() bool {
	for ; n.parent != nil; n = n.parent {
		if n.parent.children[n.name] != n {
			return false
		}
	}
	return true
}

// put makes or replaces a name. What was below it is gone.
func (t *tree) put(parent *node, name string, i *inode) (*node, error) {
	length, depth := len(name), 1
	for p := parent; p.parent != nil; p = p.parent {
		length, depth = length+1+len(p.name), depth+1
	}
	// The entry's own name was measured, but symbolic links may have made it longer.
	if length > t.budget.limits.Path || depth > t.budget.limits.Depth {
		return nil, t.budget.limits.checkPlace(length, depth, parent.path()+"/"+name)
	}
	if parent.children == nil {
		parent.children = map[string]*node{}
	}
	n := &node{name: strings.Clone(name), parent: parent, inode: i, layer: t.layer, seen: t.layer}
	parent.children[n.name], t.last = n, n
	return n, nil
}

// mark notes that the current layer has something in a directory.
func (t *tree) mark(dir *node) {
	for ; dir != nil && dir.seen != t.layer; dir = dir.parent {
		dir.seen = t.layer
	}
}

// maxLinks is how many symbolic links Linux follows in one name.
const maxLinks = 40

// place is what a name leads to: a node that exists, and the names below it that do not.
type place struct {
	at      *node
	missing []string
	links   int // symbolic links on the way
}

// find follows a name through the tree's symbolic links, as the guest's kernel would with the image as its root: nothing
// leads above the root. Unlike there, a name that does not exist can be gone through, since it may be made.
func (t *tree) find(name string) (place, error) {
	p := place{at: t.root}
	for rest := name; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			p.up()
			continue
		}
		child := p.at.children[part]
		switch {
		case len(p.missing) > 0 || child == nil:
			p.missing = append(p.missing, part)
		case child.isDir():
			p.at = child
		case child.inode.kind == tar.TypeSymlink:
			if p.links++; p.links > maxLinks {
				return p, fmt.Errorf("%.80q goes through more than %d symbolic links", name, maxLinks)
			}
			if err := t.budget.follow(child.inode.link); err != nil {
				return p, err
			}
			if strings.HasPrefix(child.inode.link, "/") {
				p.at = t.root
			}
			rest = child.inode.link + "/" + rest
		// A layer's directory hides the file of a lower layer. Within one layer, or through a link that meant the file,
		// there is no telling what is meant.
		case p.links == 0 && child.layer != t.layer:
			p.missing = append(p.missing, part)
		default:
			return p, fmt.Errorf("%.80q goes through %.80q, which is not a directory", name, child.path())
		}
	}
	return p, nil
}

func (p *place) up() {
	if len(p.missing) > 0 {
		p.missing = p.missing[:len(p.missing)-1]
	} else if p.at.parent != nil {
		p.at = p.at.parent
	}
}

// dir returns the directory of this name, made if need be, for the current layer to have something in it.
func (t *tree) dir(name string) (*node, error) {
	p, err := t.find(name)
	if err != nil {
		return nil, err
	}
	t.mark(p.at)
	for _, part := range p.missing {
		if err := t.budget.entry(len(part)); err != nil {
			return nil, err
		}
		if p.at, err = t.put(p.at, part, implied()); err != nil {
			return nil, err
		}
	}
	return p.at, nil
}

// lookup returns what is there under a name, without following it itself if it is a symbolic link; nil if there is
// nothing.
func (t *tree) lookup(name string) *node {
	dir, base := split(name)
	if base == "." {
		return t.root
	}
	p, err := t.find(dir)
	if err != nil || len(p.missing) > 0 {
		return nil
	}
	return p.at.children[base]
}
