package layers

import (
	"archive/tar"
	"strings"
)

// summarize looks for what a VM's first process and its commands need.
func (t *tree) summarize(s *Summary) {
	for _, name := range []string{"/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd"} {
		if program := t.program(name); program != "" {
			s.Init, s.InitProgram = name, program
			break
		}
	}
	if t.program("/bin/sh") != "" {
		s.Shell = "/bin/sh"
	}
}

// program returns the absolute name of the executable file that a name leads to, or "".
func (t *tree) program(name string) string {
	for range maxLinks {
		n := t.lookup(strings.TrimPrefix(name, "/"))
		switch {
		case n == nil:
			return ""
		case n.inode.kind == tar.TypeReg && n.inode.size > 0 && n.inode.mode&0o111 != 0:
			return "/" + n.path()
		case n.inode.kind != tar.TypeSymlink:
			return ""
		case strings.HasPrefix(n.inode.link, "/"):
			name = strings.TrimRight(n.inode.link, "/")
		default:
			name = n.parent.path() + "/" + n.inode.link
		}
	}
	return ""
}
