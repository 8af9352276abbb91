package layers

import (
	"archive/tar"

	"banger/internal/image/tarfilter"
)

// drop takes away what the rules leave out. What lies below a dropped directory is asked for by itself, and keeps it.
func (t *tree) drop(dir *node, prefix string, leaveOut func(string) bool) {
	for name, child := range dir.children {
		full := prefix + name
		if child.isDir() {
			t.drop(child, full+"/", leaveOut)
		}
		switch {
		case !leaveOut(full):
		case child.isDir() && len(child.children) > 0:
			child.inode = implied()
		default:
			delete(dir.children, name)
		}
	}
}

// replacements are one more layer, whose contents are at hand.
func replacements(files []tarfilter.File) (records []record, contents map[*inode]string) {
	contents = map[*inode]string{}
	for _, f := range files {
		i := &inode{kind: tar.TypeReg, mode: 0o644, size: int64(len(f.Content))}
		switch {
		case f.Dir:
			i = implied()
		case f.Link != "":
			i = &inode{kind: tar.TypeSymlink, mode: 0o777, link: f.Link}
		default:
			contents[i] = f.Content
		}
		records = append(records, record{name: f.Name, does: put, inode: i})
	}
	return records, contents
}
