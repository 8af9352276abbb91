package workspace

import (
	"crypto/sha1" // git names contents by it; nothing is trusted because of such a name
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// format is how a git repository names its objects.
type format string

const (
	formatSHA1   format = "sha1"
	formatSHA256 format = "sha256"
)

// id is the name of an object, in hexadecimal digits.
type id string

func (f format) hash() hash.Hash {
	if f == formatSHA256 {
		return sha256.New()
	}
	return sha1.New()
}

// blob begins the hash of a content of size bytes.
func (f format) blob(size int64) hash.Hash {
	h := f.hash()
	fmt.Fprintf(h, "blob %d\x00", size)
	return h
}

func sum(h hash.Hash) id { return id(hex.EncodeToString(h.Sum(nil))) }

// blobOf is the name of a small content.
func (f format) blobOf(content []byte) id {
	h := f.blob(int64(len(content)))
	h.Write(content)
	return sum(h)
}

// valid says whether id has the shape of an object's name.
func (i id) valid() bool {
	return (len(i) == 40 || len(i) == 64) && strings.Trim(string(i), "0123456789abcdef") == ""
}

// Mode is what git knows of a file's type.
type Mode uint32

// The modes that a tree of ours holds.
const (
	ModeFile Mode = 0o100644
	ModeExec Mode = 0o100755
	ModeLink Mode = 0o120000
)

const modeSubmodule Mode = 0o160000 // in the user's trees only

func (m Mode) String() string { return fmt.Sprintf("%06o", uint32(m)) }

// leaf is one file of a tree.
type leaf struct {
	mode Mode
	id   id
	size int64 // -1 when it is not known
}

// tree is a whole tree: its files by path. Paths are slash-separated and may hold any byte but NUL.
type tree map[string]leaf

// ValidTree says whether text has the shape of a tree's name.
func ValidTree(text string) bool { return id(text).valid() }
