package cli

import (
	"strings"
	"testing"
)

func TestSafeLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain, Grüße, 世界 🐚":    "plain, Grüße, 世界 🐚",
		"\x1b]0;title\x07":      `\x1b]0;title\a`,
		"a\nb\tc\rd":            `a\nb\tc\rd`,
		"\u009b31m":             `\u009b31m`,
		"abc\u202edcba\u2066":   `abc\u202edcba\u2066`,
		"bad \xff\xc3 bytes":    `bad \xff\xc3 bytes`,
		"zero\u200bwidth\u2028": `zero\u200bwidth\u2028`,
		"\ufffd":                "\ufffd",
	} {
		if got := safeLine(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestSafeWriter(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"line\r\nnext\ttab\n":                   "line\nnext\ttab\n",
		"\x1b[0;32m  OK  \x1b[0m\r\n":           "  OK  \n",
		"\x1b[2J\x1b[H":                         `\x1b[2J\x1b[H`,
		"over\rwritten":                         `over\rwritten`,
		"\x1b[" + strings.Repeat("1", 50) + "m": `\x1b[` + strings.Repeat("1", 50) + "m",
		"Grüße \xe2\x82 half":                   `Grüße \xe2\x82 half`,
		"cut \xe2\x82":                          `cut \xe2\x82`,
		"cut \x1b[3":                            `cut \x1b[3`,
		"\x1b\x1b[1mx":                          `\x1bx`,
		"end\r":                                 "end",
	} {
		whole, bytewise := filter(t, in, len(in)), filter(t, in, 1)
		if whole != want || bytewise != want {
			t.Errorf("%q: got %q, byte by byte %q, want %q", in, whole, bytewise, want)
		}
	}
}

func filter(t *testing.T, in string, step int) string {
	t.Helper()
	var b strings.Builder
	w := &safeWriter{w: &b}
	for len(in) > 0 {
		n := min(step, len(in))
		if got, err := w.Write([]byte(in[:n])); got != n || err != nil {
			t.Fatal(got, err)
		}
		in = in[n:]
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Whatever is written, nothing that a terminal obeys comes out.
func FuzzSafeWriter(f *testing.F) {
	f.Add("\x1b[31mred\x1b[0m\r\n\u202e\xff", 3)
	f.Fuzz(func(t *testing.T, in string, step int) {
		if step < 1 {
			step = 1
		}
		for _, r := range filter(t, in, step) {
			if r != '\n' && r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069) {
				t.Fatalf("%U got through", r)
			}
		}
	})
}
