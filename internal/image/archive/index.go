package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"banger/internal/model"
)

// The files of an OCI layout, and the one of what docker saves.
const (
	fileLayout = "oci-layout"
	fileIndex  = "index.json"
	fileDocker = "manifest.json"
)

// maxMembers is far above an archive of many images.
const maxMembers = 20_000

// members is a tar of files that lie where they are.
type members struct {
	file *os.File
	at   map[string]member
}

type member struct {
	offset, size int64
	link         string // of a link: its target within the tar
}

// readIndex finds the members of an image's archive. It returns nil for any other tar, at the first member that no such
// archive has.
func readIndex(ctx context.Context, file *os.File) (*members, error) {
	section := io.NewSectionReader(file, 0, 1<<62)
	entries := tar.NewReader(section) // which skips contents by seeking
	m := &members{file: file, at: map[string]member{}}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if !isMember(h.Name) {
			return nil, nil
		}
		name := path.Clean(h.Name)
		offset, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			m.at[name] = member{offset: offset, size: h.Size}
		case tar.TypeSymlink:
			m.at[name] = member{link: path.Join(path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			m.at[name] = member{link: path.Clean(h.Linkname)}
		}
		if len(m.at) > maxMembers {
			return nil, fmt.Errorf("it has more than %d members", maxMembers)
		}
	}
	_, isLayout := m.at[fileLayout]
	_, isDocker := m.at[fileDocker]
	if !isLayout && !isDocker {
		return nil, nil
	}
	return m, nil
}

// isMember says whether an archive of images has members of that name.
func isMember(name string) bool {
	name = path.Clean(name)
	switch name {
	case fileLayout, fileIndex, fileDocker, "repositories", "blobs", "blobs/sha256":
		return true
	}
	name = strings.TrimPrefix(name, "blobs/sha256/")
	first, rest, _ := strings.Cut(name, "/")
	first = strings.TrimPrefix(first, "sha256:") // as some tools call the configuration
	for _, suffix := range []string{".json", ".gz", ".tar"} {
		first = strings.TrimSuffix(first, suffix)
	}
	switch rest {
	case "", "json", "layer.tar", "VERSION":
		return model.Digest("sha256:" + first).Valid()
	}
	return false
}

func (m *members) open(name string) (io.ReadCloser, int64, error) {
	for range 4 { // docker saves a layer that is there twice as a link to the other
		one, ok := m.at[path.Clean(name)]
		switch {
		case !ok:
			return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		case one.link == "":
			return io.NopCloser(io.NewSectionReader(m.file, one.offset, one.size)), one.size, nil
		}
		name = one.link
	}
	return nil, 0, fmt.Errorf("%.100q is a link to itself", name)
}
