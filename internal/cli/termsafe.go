package cli

import (
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What a guest, an image or a stranger's name says is never let near a terminal as it is: an escape sequence could retitle
// it, move its cursor over what banger said, or answer for its user. Control characters, bidirectional controls and bytes
// that are no UTF-8 are shown as Go writes them in a string.

// safeLine returns s as one printable line.
func safeLine(s string) string {
	if printable(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		writeSafe(&b, s[:n], r)
		s = s[n:]
	}
	return b.String()
}

func printable(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return false
		}
	}
	return true
}

func writeSafe(b *strings.Builder, raw string, r rune) {
	switch {
	case r == utf8.RuneError && len(raw) == 1:
		b.WriteString(`\x` + strconv.FormatUint(uint64(raw[0])|0x100, 16)[1:])
	case strconv.IsPrint(r):
		b.WriteRune(r)
	default:
		quoted := strconv.QuoteRuneToASCII(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
}

// safeWriter passes text on with its lines and tabs; carriage returns before a line's end and colours are left out, the
// rest is as safeLine has it. A sequence may be spread over writes; close writes what is left of one.
type safeWriter struct {
	w       io.Writer
	pending string // the beginning of a rune, a line's end or a colour
}

// maxColour bounds a colour sequence, so that nobody can have us wait for the end of one.
const maxColour = 24

func (s *safeWriter) Write(p []byte) (int, error) {
	text := s.pending + string(p)
	var b strings.Builder
	for len(text) > 0 {
		n, undecided := s.step(&b, text)
		if undecided {
			break
		}
		text = text[n:]
	}
	s.pending = text
	_, err := io.WriteString(s.w, b.String())
	return len(p), err
}

// step writes the first character or colour of text and returns its length, or that its end is not there yet.
func (s *safeWriter) step(b *strings.Builder, text string) (n int, undecided bool) {
	switch text[0] {
	case '\n', '\t':
		b.WriteByte(text[0])
		return 1, false
	case '\r':
		if len(text) == 1 {
			return 0, true
		}
		if text[1] == '\n' || text[1] == '\r' {
			return 1, false
		}
	case '\x1b':
		if n, undecided := colour(text); n > 0 || undecided {
			return n, undecided
		}
	}
	if !utf8.FullRuneInString(text) {
		return 0, true
	}
	r, n := utf8.DecodeRuneInString(text)
	writeSafe(b, text[:n], r)
	return n, false
}

// colour returns the length of the SGR sequence (ESC [ digits ; m) that text begins with, or 0.
func colour(text string) (n int, undecided bool) {
	for i := 1; i < len(text) && i < maxColour; i++ {
		c := text[i]
		switch {
		case i == 1 && c == '[', i > 1 && (c >= '0' && c <= '9' || c == ';'):
		case i > 1 && c == 'm':
			return i + 1, false
		default:
			return 0, false
		}
	}
	return 0, len(text) < maxColour
}

func (s *safeWriter) close() error {
	rest := s.pending
	s.pending = ""
	if rest == "\r" {
		return nil
	}
	_, err := io.WriteString(s.w, safeLine(rest))
	return err
}
