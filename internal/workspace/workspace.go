package workspace

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"banger/internal/model"
	"banger/internal/rootedfs"
)

// Workspace is a project that was copied into a guest.
type Workspace struct {
	Dir     string // its store
	Scratch string // a directory of ours for what lives only for a moment
	Host    string // the project's directory
	Guest   string // where it is in the guest
	Base    Base
	Options Options
}

// Guest is a running guest, as far as a workspace needs it. What it says is believed of its own files only.
type Guest interface {
	// List visits every file below root, but nothing in directories called .git: those it visits themselves.
	List(ctx context.Context, root string, visit func(GuestFile) error) error
	// Hash returns git's names for the contents of files, "" for those that cannot be read.
	Hash(ctx context.Context, root, format string, paths []string) ([]string, error)
	// Read writes the regular files among paths as a tar stream. Those that are gone are left out.
	Read(ctx context.Context, root string, paths []string, w io.Writer) error
}

// GuestFile is one file as a guest lists it.
type GuestFile struct {
	Path   string
	Kind   Kind
	Exec   bool
	Size   int64
	Target string // of a link
}

// Kind is what a listed file is.
type Kind int

// The kinds.
const (
	KindFile Kind = iota
	KindLink
	KindGit     // a file or directory called .git
	KindSpecial // a device, a FIFO, a socket
)

// open returns the parts of a workspace that need the host's git.
func (w Workspace) open() (store, error) {
	program, err := findGit()
	if err != nil {
		return store{}, err
	}
	if _, err := os.Stat(filepath.Join(w.Dir, "objects")); err != nil {
		return store{}, model.Errorf(model.ErrCorrupt, "cannot read what was copied in: %w; delete the VM, or copy what is worth it out with: banger vm exec", err)
	}
	return openStore(git{path: program}, w.Dir, format(w.Base.Format)), nil
}

// maxWatched is up to how many files are looked at before a command.
const maxWatched = 20_000

// Moved says in a few words how the host's project differs from when it was copied, or "" when nothing shows. It looks
// at the commit and at the files' times and sizes, and reads no content.
func (w Workspace) Moved(ctx context.Context) string {
	program, err := findGit()
	if err != nil {
		return ""
	}
	if w.Base.Head != "" {
		head, err := git{path: program, dir: w.Host}.line(ctx, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
		if err == nil && head != w.Base.Head {
			return "its commit is " + string(short(id(head))) + ", it was " + string(short(id(w.Base.Head)))
		}
	}
	if w.Base.Fingerprint == "" || w.Base.Files > maxWatched {
		return ""
	}
	if _, err := os.Stat(w.Host); errors.Is(err, fs.ErrNotExist) {
		return "it is gone"
	}
	now, err := w.fingerprint(ctx)
	if err == nil && now != w.Base.Fingerprint {
		return "its files have changed"
	}
	return ""
}

func (w Workspace) fingerprint(ctx context.Context) (string, error) {
	list, err := os.ReadFile(filepath.Join(w.Dir, filesList))
	if err != nil {
		return "", err
	}
	root, err := rootedfs.Open(w.Host)
	if err != nil {
		return "", err
	}
	defer root.Close()
	h := sha256.New()
	for _, name := range fields(list) {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		addFingerprint(h, root, name)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
