package layers

import (
	"archive/tar"
	"errors"
	"fmt"
	"strings"
	"time"

	"banger/internal/image/tarfilter"
)

// record is what one entry of a layer asks for.
type record struct {
	name  string
	does  action
	inode *inode // for put and link
}

type action uint8

const (
	skip   action = iota // nothing: metadata of a builder
	put                  // a file, directory, link or device under this name
	link                 // another name for the file inode.link
	hide                 // a whiteout: what lower layers have under this name is gone
	opaque               // the same for all that they have in the directory of this name
	remove               // an overlay's own whiteout: whatever was under this name is gone
	stash                // a file that can only be reached as the target of hard links
)

// inode is a file of whatever type, apart from its names.
type inode struct {
	attributes   map[string]string // PAX records
	home         *node             // the name under which it was written already, or nil
	link         string            // target of a symbolic link; of a hard link while it is one
	size         int64
	at           int64 // where the content is: an offset in the layer's spool, or which of the layer's files it is
	sec          int64
	nsec         uint32
	uid, gid     uint32
	major, minor uint32
	names        uint32 // of the merged tree
	mode         uint16
	layer        uint16 // whose content it is
	kind         byte   // a tar type
}

func (i *inode) hasContent() bool { return i.kind == tar.TypeReg && i.size > 0 }

// holdsContent says whether a content follows the entry that the image may need.
func (r *record) holdsContent() bool {
	return (r.does == put || r.does == stash) && r.inode.hasContent()
}

// The devices that ext4 can name.
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

const (
	maxID       = 1<<32 - 2 // the last one is "none" to the kernel
	maxFileSize = 128 << 30 // of the ext4 writer
)

// parse says what an entry asks for. Its errors do not name it.
func (l Limits) parse(h *tar.Header) (r record, dropped int, err error) {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader, 'V': // a comment of git's, the label of a volume
		return record{}, 0, nil
	}
	if r.name, err = l.cleanName(h.Name); err != nil {
		return r, 0, err
	}
	if r.does, r.name, err = l.classify(r.name); err != nil || (r.does != put && r.does != stash) {
		return r, 0, err
	}
	r.inode = &inode{
		kind: h.Typeflag, mode: uint16(h.Mode & 0o7777), uid: uint32(h.Uid), gid: uint32(h.Gid),
		major: uint32(h.Devmajor), minor: uint32(h.Devminor),
	}
	r.inode.setTime(h.ModTime)
	if err := r.setKind(h, l); err != nil {
		return r, 0, err
	}
	switch {
	case r.does == stash && r.inode.kind != tar.TypeReg:
		return record{}, 0, nil
	case r.does == link || r.does == remove:
		return r, 0, nil
	case r.name == "." && r.inode.kind != tar.TypeDir:
		return r, 0, errors.New("the image's root, which can only be a directory")
	case h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > maxID || int64(h.Gid) > maxID:
		return r, 0, fmt.Errorf("owned by user %d and group %d, which cannot be", h.Uid, h.Gid)
	}
	r.inode.attributes, dropped, err = tarfilter.Attributes(r.inode.kind, h.PAXRecords)
	if err != nil {
		return r, dropped, fmt.Errorf("a file with %w", err)
	}
	return r, dropped, nil
}

// classify tells whiteouts by their names.
func (l Limits) classify(name string) (action, string, error) {
	if !strings.HasPrefix(name, whiteoutPrefix) && !strings.Contains(name, "/"+whiteoutPrefix) {
		return put, name, nil
	}
	dir, base := split(name)
	first, _, _ := strings.Cut(name, "/")
	switch {
	case first == aufsLinks && dir == aufsLinks:
		return stash, name, nil
	case strings.HasPrefix(first, aufsPrefix) && name != opaqueMarker:
		return skip, name, nil
	case strings.HasPrefix(dir, whiteoutPrefix) || strings.Contains(dir, "/"+whiteoutPrefix):
		return skip, name, errors.New("below a whiteout")
	case base == opaqueMarker:
		return opaque, dir, nil
	case !strings.HasPrefix(base, whiteoutPrefix):
		return put, name, nil
	}
	switch hidden := base[len(whiteoutPrefix):]; hidden {
	case "", ".", "..":
		return skip, name, errors.New("a whiteout of nothing")
	default:
		if dir == "." {
			return hide, hidden, nil
		}
		return hide, dir + "/" + hidden, nil
	}
}

// setKind fills in what depends on the type of an entry.
func (r *record) setKind(h *tar.Header, l Limits) error {
	i := r.inode
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		i.kind, i.size = tar.TypeReg, h.Size
		if h.Size > maxFileSize {
			return fmt.Errorf("%d bytes large; a file can have %d", h.Size, int64(maxFileSize))
		}
	case tar.TypeDir, 'D': // the latter from GNU's incremental dumps
		i.kind = tar.TypeDir
	case tar.TypeFifo:
	case tar.TypeSymlink:
		i.link, i.mode = h.Linkname, 0o777
		return checkTarget(h.Linkname)
	case tar.TypeLink:
		target, err := l.cleanName(h.Linkname)
		if err != nil {
			return fmt.Errorf("a hard link to %.80q, %w", h.Linkname, err)
		}
		r.does, i.link = link, target
	case tar.TypeChar, tar.TypeBlock:
		if h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0 {
			r.does = remove
			return nil
		}
		if h.Devmajor < 0 || h.Devmajor > maxMajor || h.Devminor < 0 || h.Devminor > maxMinor {
			return fmt.Errorf("the device %d,%d, which Linux cannot name", h.Devmajor, h.Devminor)
		}
	default:
		return fmt.Errorf("of the type %q, which means nothing in an image", h.Typeflag)
	}
	return nil
}

func (i *inode) setTime(t time.Time) {
	t = tarfilter.Time(t)
	i.sec, i.nsec = t.Unix(), uint32(t.Nanosecond())
}

// text is how many bytes of names and the like the record makes the index remember.
func (r *record) text() int {
	n := len(r.name)
	if r.inode == nil {
		return n
	}
	n += len(r.inode.link)
	for k, v := range r.inode.attributes {
		n += len(k) + len(v)
	}
	return n
}
