// Package layerstest merges layers slowly and plainly, for tests to compare with.
//
// It takes tars that a test made, and panics on others.
package layerstest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Image is a tree as a map of clean names, "." among them. Names of one file share the pointer.
type Image map[string]*File

// File is one file of an image.
type File struct {
	Kind       byte
	Mode       int64
	UID, GID   int
	Time       int64 // in nanoseconds
	Link       string
	Major      int64
	Minor      int64
	Attributes string
	Content    string
}

// FileOf is what a tar entry says.
func FileOf(h *tar.Header, content string) *File {
	r := &File{Kind: h.Typeflag, Mode: h.Mode & 0o7777, UID: h.Uid, GID: h.Gid, Time: max(h.ModTime.UnixNano(), 0), Content: content}
	switch h.Typeflag {
	case tar.TypeGNUSparse:
		r.Kind = tar.TypeReg
	case tar.TypeSymlink:
		r.Link, r.Mode = h.Linkname, 0o777
	case tar.TypeChar, tar.TypeBlock:
		r.Major, r.Minor = h.Devmajor, h.Devminor
	}
	for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if strings.HasPrefix(k, "SCHILY.xattr.user.") || (strings.HasSuffix(k, "security.capability") && r.Kind == tar.TypeReg) {
			r.Attributes += k[len("SCHILY.xattr."):] + "=" + h.PAXRecords[k] + " "
		}
	}
	return r
}

func (r *File) String() string {
	s := fmt.Sprintf("%c %o %d:%d @%d", r.Kind, r.Mode, r.UID, r.GID, r.Time)
	if r.Link != "" {
		s += " -> " + r.Link
	}
	if r.Major != 0 || r.Minor != 0 {
		s += fmt.Sprintf(" dev %d,%d", r.Major, r.Minor)
	}
	if r.Attributes != "" {
		s += " " + r.Attributes
	}
	if r.Content != "" {
		s += fmt.Sprintf(" %q", r.Content[:min(len(r.Content), 40)])
	}
	return s
}

// String has a line for each name, with the first name of the same file.
func (m Image) String() string {
	first := map[*File]string{}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m)) {
		quoted := strconv.Quote(name)
		fmt.Fprintf(&b, "%s %s", quoted[1:len(quoted)-1], m[name])
		if other, ok := first[m[name]]; ok {
			fmt.Fprintf(&b, " == %s", other)
		} else {
			first[m[name]] = name
		}
		b.WriteString("\n")
	}
	return b.String()
}

// reference merges layers slowly and plainly, to compare with.
type reference struct {
	image Image
	from  map[string]int // the layer that put or described a name
	used  map[string]int // the last layer that has something in a directory
	layer int
}

var errReference = errors.New("the reference refuses this")

// Merge merges layers, the lowest first.
func Merge(tars ...[]byte) (Image, error) {
	m := &reference{image: Image{}, from: map[string]int{}, used: map[string]int{}}
	m.set(".", &File{Kind: tar.TypeDir, Mode: 0o755})
	for _, data := range tars {
		m.layer++
		if err := m.apply(data); err != nil {
			return nil, err
		}
	}
	return m.image, nil
}

func (m *reference) set(name string, r *File) {
	m.image[name], m.from[name], m.used[name] = r, m.layer, m.layer
}

func (m *reference) delete(name string) {
	for n := range m.image {
		if n == name || strings.HasPrefix(n, name+"/") {
			delete(m.image, n)
		}
	}
}

func join(dir, base string) string {
	if dir == "." {
		return base
	}
	return dir + "/" + base
}

// real is where a directory's name leads to, whether it is there or not.
func (m *reference) real(name string) (string, error) {
	at, links := ".", 0
	for todo := strings.Split(name, "/"); len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			at, _ = split(at)
			continue
		}
		next := join(at, part)
		r := m.image[next]
		switch {
		case r == nil || r.Kind == tar.TypeDir:
			at = next
		case r.Kind == tar.TypeSymlink:
			if links++; links > 40 {
				return "", errReference
			}
			if r.Link[0] == '/' {
				at = "."
			}
			todo = append(strings.Split(r.Link, "/"), todo...)
		case links == 0 && m.from[next] < m.layer:
			at = next // a file below, which a directory of this layer hides
		default:
			return "", errReference
		}
	}
	return at, nil
}

// dir makes a directory and those above it.
func (m *reference) dir(name string) (string, error) {
	name, err := m.real(name)
	if err != nil {
		return "", err
	}
	for at := name; ; at, _ = split(at) {
		if r := m.image[at]; r == nil || r.Kind != tar.TypeDir {
			m.set(at, &File{Kind: tar.TypeDir, Mode: 0o755})
		}
		m.used[at] = m.layer
		if at == "." {
			return name, nil
		}
	}
}

// hide takes what lower layers have at and below a name.
func (m *reference) hide(top string, itself bool) {
	for n, r := range m.image {
		inside := strings.HasPrefix(n, top+"/") || (top == "." && n != ".")
		if !inside && (n != top || !itself) {
			continue
		}
		switch {
		case r.Kind == tar.TypeDir && m.used[n] == m.layer:
			if m.from[n] < m.layer {
				m.set(n, &File{Kind: tar.TypeDir, Mode: 0o755})
			}
		case m.from[n] < m.layer:
			delete(m.image, n)
		}
	}
}

const undecided = 1

func (m *reference) apply(data []byte) error {
	for _, e := range entriesOf(data) {
		m.hideFirst(e.h.Name)
	}
	for _, e := range entriesOf(data) {
		if err := m.entry(e.h, e.content); err != nil {
			return err
		}
	}
	for name, r := range m.image {
		if r.Kind == undecided {
			target, err := m.decide(name, map[string]bool{})
			if err != nil {
				return err
			}
			m.image[name] = target
		}
	}
	return nil
}

type tarEntry struct {
	h       *tar.Header
	content string
}

// entriesOf reads a tar that the tests made.
func entriesOf(data []byte) (all []tarEntry) {
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			panic(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			panic(err)
		}
		all = append(all, tarEntry{h, string(content)})
	}
}

// hideFirst applies a whiteout in a directory that is plainly there in the layers below.
func (m *reference) hideFirst(name string) {
	name, err := clean(name)
	dir, base := split(name)
	hidden, whiteout := strings.CutPrefix(base, ".wh.")
	if err != nil || !whiteout {
		return
	}
	for at := dir; at != "."; at, _ = split(at) {
		if r := m.image[at]; r == nil || r.Kind != tar.TypeDir {
			return
		}
	}
	if base == ".wh..wh..opq" {
		m.hide(dir, false)
	} else {
		m.hide(join(dir, hidden), true)
	}
}

func (m *reference) decide(name string, seen map[string]bool) (*File, error) {
	if seen[name] {
		return nil, errReference
	}
	seen[name] = true
	r := m.image[name]
	if r == nil || r.Kind == tar.TypeDir {
		return nil, errReference
	}
	if r.Kind != undecided {
		return r, nil
	}
	target, err := m.target(r.Link)
	if err != nil {
		return nil, err
	}
	return m.decide(target, seen)
}

func (m *reference) target(name string) (string, error) {
	dir, base := split(name)
	dir, err := m.real(dir)
	return join(dir, base), err
}

func clean(name string) (string, error) {
	var parts []string
	for _, p := range strings.Split(name, "/") {
		switch p {
		case "", ".":
		case "..":
			if len(parts) == 0 {
				return "", errReference
			}
			parts = parts[:len(parts)-1]
		default:
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return ".", nil
	}
	return strings.Join(parts, "/"), nil
}

func (m *reference) entry(h *tar.Header, content string) error {
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return errReference
		}
		m.set(".", FileOf(h, ""))
		return nil
	}
	dir, base := split(name)
	if strings.Contains(dir, ".wh.") {
		return errReference
	}
	if dir, err = m.dir(dir); err != nil {
		return err
	}
	name = join(dir, base)
	switch hidden, whiteout := strings.CutPrefix(base, ".wh."); {
	case base == ".wh..wh..opq":
		m.hide(dir, false)
		return nil
	case whiteout && (hidden == "" || hidden == "." || hidden == ".."):
		return errReference
	case whiteout:
		m.hide(join(dir, hidden), true)
		return nil
	}
	switch old := m.image[name]; {
	case h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0:
		m.delete(name)
	case h.Typeflag == tar.TypeLink:
		return m.link(name, h.Linkname)
	case h.Typeflag == tar.TypeDir && old != nil && old.Kind == tar.TypeDir:
		m.set(name, FileOf(h, ""))
	default:
		m.delete(name)
		m.set(name, FileOf(h, content))
	}
	return nil
}

func (m *reference) link(name, to string) error {
	to, err := clean(to)
	if err != nil {
		return err
	}
	target, err := m.target(to)
	r := m.image[target]
	switch usable := err == nil && r != nil && r.Kind != tar.TypeDir && r.Kind != undecided; {
	case usable && target == name:
		return nil
	case usable && m.from[target] == m.layer:
		m.delete(name)
		m.set(name, r)
	default:
		m.delete(name)
		m.set(name, &File{Kind: undecided, Link: to})
	}
	return nil
}

func split(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return ".", name
}

// Listing has a line for each name, sorted, as this command prints it in a guest with GNU's tools or busybox's,
//
//	cd / && find . -xdev -exec stat -c '%n|%a|%u|%g|%Y|%F|%t:%T|%h' {} +
//
// but for directories' numbers of links, which file systems count differently: they are left out. Contents and the targets
// of links are the caller's business.
func (m Image) Listing() []string {
	names := map[*File]int{}
	for _, f := range m {
		names[f]++
	}
	var out []string
	for name, f := range m {
		if name != "." {
			name = "./" + name
		}
		words := map[byte]string{
			tar.TypeReg: "regular file", tar.TypeDir: "directory", tar.TypeSymlink: "symbolic link", tar.TypeChar: "character special file",
			tar.TypeBlock: "block special file", tar.TypeFifo: "fifo",
		}
		kind := words[f.Kind]
		if f.Kind == tar.TypeReg && f.Content == "" {
			kind = "regular empty file"
		}
		links := fmt.Sprint(names[f])
		if f.Kind == tar.TypeDir {
			links = ""
		}
		out = append(out, fmt.Sprintf("%s|%o|%d|%d|%d|%s|%x:%x|%s", name, f.Mode, f.UID, f.GID, f.Time/1e9, kind, f.Major, f.Minor, links))
	}
	slices.Sort(out)
	return out
}
