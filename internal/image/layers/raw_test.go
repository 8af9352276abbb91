package layers

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// raw is a tar header as bytes, for what archive/tar refuses to write.
type raw struct {
	name, link string
	kind       byte
	mode       string // as it stands in the field
	uid        string
	size       string // octal, when it is not that of the content
	magic      string // "ustar\x0000" when nothing is said, "-" for none
	major      string
	minor      string
	prefix     string
	content    string
	badSum     bool
	more       func(block []byte)
}

func (r raw) bytes() []byte {
	b := make([]byte, 512)
	put := func(at, size int, value, otherwise string) {
		if value == "" {
			value = otherwise
		}
		copy(b[at:at+size], value)
	}
	put(0, 100, r.name, "")
	put(100, 8, r.mode, "0000644\x00")
	put(108, 8, r.uid, "0000000\x00")
	put(116, 8, "0000000\x00", "")
	put(124, 12, r.size, fmt.Sprintf("%011o\x00", len(r.content)))
	put(136, 12, "00000001750\x00", "")
	b[156] = r.kind
	put(157, 100, r.link, "")
	if r.magic != "-" {
		put(257, 8, r.magic, "ustar\x0000")
	}
	put(329, 8, r.major, "")
	put(337, 8, r.minor, "")
	put(345, 155, r.prefix, "")
	if r.more != nil {
		r.more(b)
	}
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	if r.badSum {
		sum++
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	padding := make([]byte, (512-len(r.content)%512)%512)
	return slices.Concat(b, []byte(r.content), padding)
}

// tarOf joins raw entries, and ends the archive.
func tarOf(entries ...raw) []byte {
	var out []byte
	for _, e := range entries {
		out = append(out, e.bytes()...)
	}
	return append(out, make([]byte, 1024)...)
}

// pax is an extended header of records for the entry after it.
func pax(records ...string) raw {
	var text strings.Builder
	for i := 0; i < len(records); i += 2 {
		body := " " + records[i] + "=" + records[i+1] + "\n"
		n := len(body) + 1
		for len(fmt.Sprint(n))+len(body) != n {
			n = len(fmt.Sprint(n)) + len(body)
		}
		fmt.Fprintf(&text, "%d%s", n, body)
	}
	return raw{name: "PaxHeaders/x", kind: 'x', content: text.String()}
}

// base256 is a number as GNU tar writes those that are too large for octal digits.
func base256(n int64, size int) string {
	b := make([]byte, size)
	binary.BigEndian.PutUint64(b[size-8:], uint64(n))
	if n < 0 {
		copy(b, bytes.Repeat([]byte{0xff}, size-8))
	}
	b[0] |= 0x80
	return string(b)
}

// oldSparse is a GNU sparse file of the old kind: pieces of offset and length, then the real size.
func oldSparse(name, content string, size int64, pieces ...int64) raw {
	return raw{name: name, kind: 'S', magic: "ustar  \x00", content: content, more: func(b []byte) {
		for i, n := range pieces {
			copy(b[386+12*i:], fmt.Sprintf("%011o\x00", n))
		}
		copy(b[483:], fmt.Sprintf("%011o\x00", size))
	}}
}

// newSparse is one of the kind 1.0: its map is at the start of the content.
func newSparse(name, content string, size int64, pieces ...int64) []raw {
	m := fmt.Sprintf("%d\n", len(pieces)/2)
	for _, n := range pieces {
		m += fmt.Sprintf("%d\n", n)
	}
	m += strings.Repeat("\x00", (512-len(m)%512)%512)
	return []raw{
		pax("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", name, "GNU.sparse.realsize", fmt.Sprint(size)),
		{name: "GNUSparseFile.0/" + name, kind: '0', content: m + content},
	}
}
