package model

import (
	"io/fs"
	"strings"
	"time"
)

// DefaultMaxCopy caps what one copy may bring out of a guest.
const DefaultMaxCopy = 64 * GiB

// FileRead asks for a file or a directory of a guest, as a tar stream.
type FileRead struct {
	Path     string            // absolute in the guest
	Follow   bool              // a symbolic link at Path stands for what it points to
	Name     string            // what it is called in the archive: one component, or "." for a directory's content
	Portable bool              // for other programs' eyes: files with holes are written as GNU tar does
	Warn     func(line string) // hears what was left out; nil for nobody
}

// FileWrite says where a tar stream goes in a guest.
type FileWrite struct {
	Dir     string            // absolute in the guest; it exists; links on the way to it are followed
	Name    string            // all entries must be this or lie below it; "" for any names
	User    string            // who owns what is made; "" for the VM's user
	Archive bool              // the archive's owners are kept instead
	Warn    func(line string) // hears what was left out; nil for nobody
}

// FileSummary counts what a copy did.
type FileSummary struct {
	Files   int // hard links included
	Dirs    int
	Links   int // symbolic ones
	Skipped int // left out, each with a warning
	Bytes   int64
}

// Entries is how many there were.
func (s FileSummary) Entries() int { return s.Files + s.Dirs + s.Links + s.Skipped }

// FileInfo is what a path of a guest is. The zero FileInfo is that of nothing.
type FileInfo struct {
	Exists  bool
	Mode    fs.FileMode // with its type
	Size    int64
	ModTime time.Time
	Target  string // what a symbolic link says
	Real    string // the path with every link on the way resolved
}

// FileName is one name in a directory of a guest: the guest's word.
type FileName struct {
	Name string
	Dir  bool // it is a directory itself, not a link to one
}

// Limits of what is listed of one directory.
const (
	MaxListed  = 1000    // names
	MaxScanned = 100_000 // entries that are looked at for them
)

// ValidateFilePath checks a guest's path before the guest is asked.
func ValidateFilePath(path string) error {
	if !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) || len(path) > 4095 {
		return Errorf(ErrInvalid, "%q cannot be a path of a guest: write an absolute one of at most 4095 bytes", path)
	}
	return nil
}
