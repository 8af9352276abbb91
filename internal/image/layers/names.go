package layers

import (
	"errors"
	"fmt"
	"strings"
)

const (
	maxComponent = 255  // the file system's limit
	maxTarget    = 4095 // of a symbolic link
)

const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
	aufsPrefix     = ".wh..wh."     // what AUFS, of years ago, kept for itself in the root of a layer
	aufsLinks      = ".wh..wh.plnk" // its files with several names, which are hard links to the ones in here
)

// cleanName makes an entry's name relative to the root: "." for the root itself. Absolute names begin at the root; a ".."
// takes back the component before it, and with none before it the name is refused. Errors do not name it, but for limits.
func (l Limits) cleanName(name string) (string, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return "", errors.New("a path with a zero byte")
	}
	parts := make([]string, 0, 16)
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == ".":
		case part == "..":
			if len(parts) == 0 {
				return "", errors.New("a path that climbs out of the image")
			}
			parts = parts[:len(parts)-1]
		case len(part) > maxComponent:
			return "", fmt.Errorf("a path with a component of more than %d bytes", maxComponent)
		default:
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return ".", nil
	}
	name = strings.Join(parts, "/")
	return name, l.checkPlace(len(name), len(parts), name)
}

// checkPlace holds the limits of a name's length and depth.
func (l Limits) checkPlace(length, depth int, name string) error {
	if length > l.Path {
		return overLimit(limitPath, int64(l.Path), "%.80q… is longer than %d bytes", name, l.Path)
	}
	if depth > l.Depth {
		return overLimit(limitDepth, int64(l.Depth), "%.80q… is deeper than %d directories", name, l.Depth)
	}
	return nil
}

func checkTarget(target string) error {
	switch {
	case target == "":
		return errors.New("a symbolic link to nothing")
	case len(target) > maxTarget:
		return fmt.Errorf("a symbolic link to a name of more than %d bytes", maxTarget)
	case strings.IndexByte(target, 0) >= 0:
		return errors.New("a symbolic link to a name with a zero byte")
	}
	return nil
}

// split cuts a clean name into its directory and its last component.
func split(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return ".", name
}
