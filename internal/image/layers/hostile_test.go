package layers

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"banger/internal/model"
)

// odd is an archive that nobody would make by accident, or that only old programs make.
type odd struct {
	name    string
	layers  [][]byte
	refused string // what the error says, or "" when it is taken
	want    string // the image's shape then, or what is in it
}

func one(entries ...raw) [][]byte { return [][]byte{tarOf(entries...)} }

func lined(t testing.TB, layers ...string) [][]byte {
	var out [][]byte
	for _, l := range layers {
		out = append(out, archive(t, strings.Split(l, "\n")...))
	}
	return out
}

func names(t testing.TB) []odd {
	long := strings.Repeat("n", 255)
	deep := strings.Repeat("d/", 255)
	return []odd{
		{"climbs out", lined(t, "f ../x"), `"../x" is a path that climbs out of the image`, ""},
		{"climbs out in the middle", lined(t, "f a/../../x"), "climbs out", ""},
		{"climbs out of the absolute root", lined(t, "f /../x"), "climbs out", ""},
		{"a directory that climbs out", lined(t, "d a/../.."), "climbs out", ""},
		{"is absolute", lined(t, "f /etc/passwd x"), "", "etc 5 755 implied\netc/passwd 0 644 x"},
		{"a whiteout that climbs out", lined(t, "f ../.wh.x"), "climbs out", ""},
		{"a whiteout of the parent", lined(t, "f a", "f b/.wh..."), "whiteout of nothing", ""},
		{"a whiteout of its directory", lined(t, "f a", "f b/.wh.."), "whiteout of nothing", ""},
		{"a whiteout of nothing", lined(t, "f a/.wh."), "whiteout of nothing", ""},
		{"below a whiteout", lined(t, "f .wh.a/b"), "below a whiteout", ""},
		{"a file for a root", one(raw{name: "./", kind: '0'}), "only be a directory", ""},
		{"a link for a root", one(raw{name: "/", kind: '2', link: "x"}), "only be a directory", ""},
		{"a hard link for a root", one(raw{name: "a", kind: '0'}, raw{name: ".", kind: '1', link: "a"}), "only be a directory", ""},
		{"no name", one(raw{kind: '0', content: "x"}), "only be a directory", ""},
		{"a long component", lined(t, "f "+long+"n"), "more than 255 bytes", ""},
		{"the longest component", lined(t, "f "+long), "", long + " 0 644"},
		{"too long", lined(t, "f "+strings.Repeat(long+"/", 16)+"x"), "max-path", ""},
		{"a megabyte of dots", one(pax("path", strings.Repeat("./", 400_000)+"x"), raw{name: "y", kind: '0'}), "", "x 0 644"},
		{"too deep", lined(t, "f "+deep+"a/b"), "max-depth", ""},
		{"too deep through links", lined(t, "d "+deep+"\ns s "+deep+"\nf s/a/b/c"), "max-depth", ""},
		{"too deep by climbing links", lined(t, "d a/b\ns a/b/c ../..\nf "+strings.Repeat("a/b/c/", 50)+"x"), "symbolic links", ""},
		{"control characters", one(raw{name: "a\x1b[2J\n\x7f\"'\\", kind: '0'}), "", `a\x1b[2J\n\x7f\"'\\ 0 644`},
		{"bytes that are no text", one(raw{name: "\xff\xfe/\x80", kind: '0'}), "", `\xff\xfe/\x80 0 644`},
		{"a zero byte in a long name", one(pax("path", "a\x00b"), raw{name: "y", kind: '0'}), "tar", ""},
		{"a backslash", lined(t, `f a\b x`), "", `a\\b 0 644 x`},
		{"a file as lost+found", lined(t, "f lost+found"), "lost+found", ""},
		{"lost+found", lined(t, "d lost+found mode=700"), "", "lost+found 5 700"},
		{"a trailing slash on a file", one(raw{name: "a/", kind: '0', content: "x"}), "", "a 0 644 x"},
	}
}

func linking(t testing.TB) []odd {
	var chain strings.Builder
	for i := range 60 {
		fmt.Fprintf(&chain, "s l%d l%d\n", i, i+1)
	}
	return []odd{
		{"a link loop", lined(t, "s a b\ns b a\nf a/x"), "symbolic links", ""},
		{"a link to itself", lined(t, "s a a\nf a/x"), "symbolic links", ""},
		{"a long chain of links", lined(t, chain.String()+"f l0/x"), "symbolic links", ""},
		{"a link loop, unused", lined(t, "s a b\ns b a"), "", "a 2 777 -> b\nb 2 777 -> a"},
		{"a link out, then through it", lined(t, "s a /../../etc\nf a/passwd x"), "", "a 2 777 -> /../../etc\netc 5 755 implied\netc/passwd 0 644 x"},
		{"a link to the root, then through it", lined(t, "s a /\nf a/a/b x"), "", "a 2 777 -> /\nb 0 644 x"},
		{"a link to nothing", one(raw{name: "a", kind: '2'}), "link to nothing", ""},
		{"a long link", one(pax("linkpath", strings.Repeat("x", 5000)), raw{name: "a", kind: '2', link: "y"}), "more than 4095", ""},
		{"below a link to a file", lined(t, "f a\ns l a\nf l/x"), "not a directory", ""},
		{"below a file of the same layer", lined(t, "f a\nf a/x"), "not a directory", ""},
		{"a hard link out", lined(t, "l a ../../etc/shadow"), "climbs out", ""},
		{"a hard link to an absolute name", lined(t, "f etc/a x\nl b /etc/a"), "", "b 0 644 x\netc 5 755 implied\netc/a 0 644 x == b"},
		{"a hard link through a link that climbs", lined(t, "s s ../../..\nf a x\nl b s/a"), "", "a 0 644 x\nb 0 644 x == a\ns 2 777 -> ../../.."},
		{"a hard link to a directory", lined(t, "d a\nl b a"), "is a directory", ""},
		{"a hard link to nothing", lined(t, "l b a"), "not there", ""},
		{"a hard link to itself alone", lined(t, "l a a"), "hard link to itself", ""},
		{"hard links in a circle", lined(t, "l a b\nl b c\nl c a"), "hard link to itself", ""},
		{"a hard link to a hidden file", lined(t, "f a x", "l b a\nf .wh.a"), "not there", ""},
		{"a hard link with a content", one(raw{name: "a", kind: '0', content: "x"}, raw{name: "b", link: "a", kind: '1', content: "x"}), "tar", ""},
		{"a hard link without a target", one(raw{name: "a", kind: '1'}), "is a directory", ""},
		{"AUFS without the file", lined(t, "l a .wh..wh.plnk/9"), "not there", ""},
	}
}

func kinds(t testing.TB) []odd {
	return []odd{
		{"an unknown type", one(raw{name: "a", kind: 'Z'}), "type 'Z'", ""},
		{"a part of a volume", one(raw{name: "a", kind: 'M'}), "type 'M'", ""},
		{"a volume's label", one(raw{name: "label", kind: 'V'}, raw{name: "a", kind: '0'}), "", "a 0 644"},
		{"a global header", one(raw{name: "pax_global_header", kind: 'g', content: "13 comment=x\n"}, raw{name: "a", kind: '0'}), "", "a 0 644"},
		{"a contiguous file", one(raw{name: "a", kind: '7', content: "x"}), "", "a 0 644 x"},
		{"GNU's directory dump", one(raw{name: "a", kind: 'D', content: "Yb\x00\x00"}, raw{name: "a/b", kind: '0'}), "", "a 5 644\na/b 0 644"},
		{"an old tar", one(raw{name: "d/", kind: 0, magic: "-"}, raw{name: "d/a", kind: 0, magic: "-", content: "x"}), "", "d 5 644\nd/a 0 644 x"},
		{"a prefix", one(raw{name: "a", prefix: "some/dir", kind: '0'}), "", "some 5 755 implied\nsome/dir 5 755 implied\nsome/dir/a 0 644"},
		{"GNU's long names", one(raw{name: "././@LongLink", kind: 'L', magic: "ustar  \x00", content: strings.Repeat("y", 200) + "\x00"},
			raw{name: "cut", kind: '0', magic: "ustar  \x00", content: "x"}), "", strings.Repeat("y", 200) + " 0 644 x"},
		{"GNU's long link", one(raw{name: "././@LongLink", kind: 'K', magic: "ustar  \x00", content: strings.Repeat("z", 150) + "\x00"},
			raw{name: "s", kind: '2', link: "cut", magic: "ustar  \x00"}), "", "s 2 777 -> " + strings.Repeat("z", 150)},
		{"a long name of megabytes", one(raw{name: "././@LongLink", kind: 'L', magic: "ustar  \x00", content: strings.Repeat("y", 2<<20)}, raw{name: "x", kind: '0'}), "tar", ""},
		{"an old sparse file", one(oldSparse("a", "xy", 6, 2, 2, 6, 0)), "", "a 0 644 \\x00\\x00xy\\x00\\x00"},
		{"a new sparse file", one(newSparse("a", "xy", 6, 2, 2)...), "", "a 0 644 \\x00\\x00xy\\x00\\x00"},
		{"a sparse file of nothing", one(newSparse("a", "", 3, 3, 0)...), "", "a 0 644 \\x00\\x00\\x00"},
		{"a sparse map that overlaps", one(newSparse("a", "xyxy", 6, 2, 2, 3, 2)...), "tar", ""},
		{"a sparse map beyond the end", one(newSparse("a", "xy", 6, 5, 2)...), "tar", ""},
		{"a sparse file of an exabyte", one(newSparse("a", "xy", 1<<60, 2, 2)...), "", ""},
		{"sparse files of gigabytes", one(oldSparse("a", "xy", 1<<25, 2, 2), oldSparse("b", "xy", 1<<32, 2, 2)), "max-bytes", ""},
		{"a device out of range", one(raw{name: "a", kind: '3', major: "0010000\x00", minor: "0000001\x00"}), "Linux cannot name", ""},
		{"a FIFO with a size", one(raw{name: "a", kind: '6', size: "00000001000\x00"}), "", "a 6 644"},
		{"an owner below zero", one(raw{name: "a", kind: '0', uid: base256(-1, 8)}), "owned by user -1", ""},
		{"an owner who is nobody at all", one(raw{name: "a", kind: '0', uid: base256(1<<32-1, 8)}), "owned by", ""},
		{"a large owner", one(raw{name: "a", kind: '0', uid: base256(3_000_000_000, 8)}), "", "a 0 644 3000000000"},
		{"a mode of too many bits", one(raw{name: "a", kind: '0', mode: "7777777\x00"}), "", "a 0 7777"},
		{"a size below zero", one(raw{name: "a", kind: '0', size: base256(-512, 12)}), "tar", ""},
		{"a size of eight exabytes", one(raw{name: "a", kind: '0', size: base256(1<<62, 12)}), "large", ""},
		{"a size of a hundred gigabytes", one(raw{name: "a", kind: '0', size: base256(100<<30, 12)}), "max-bytes", ""},
		{"a pax size that lies", one(pax("size", "99999"), raw{name: "a", kind: '0', content: "x"}), "broken", ""},
		{"pax times", one(pax("mtime", "5.25"), raw{name: "a", kind: '0'}), "", "a 0 644 @5250000000"},
		{"a time of another age", one(pax("mtime", "99999999999999"), raw{name: "a", kind: '0'}), "", "a 0 644 @8589934592000000000"},
		{"pax records that are none", one(raw{name: "x", kind: 'x', content: "999999 path=a\n"}, raw{name: "a", kind: '0'}), "tar", ""},
		{"attributes without end", one(pax("SCHILY.xattr.user.a", strings.Repeat("v", 4000)), raw{name: "a", kind: '0'}), "extended attributes", ""},
		{"odd attributes", one(pax("SCHILY.xattr.user.", "v", "SCHILY.xattr.user.\xff", "v", "SCHILY.xattr.system.posix_acl_access", "x", "SCHILY.xattr.user."+strings.Repeat("n", 300), "v"),
			raw{name: "a", kind: '0'}), "", "a 0 644"},
	}
}

func streams(t testing.TB) []odd {
	good := archive(t, "f a "+strings.Repeat("x", 700), "f b yy")
	return []odd{
		{"nothing", [][]byte{{}}, "empty", ""},
		{"an end marker alone", [][]byte{make([]byte, 1024)}, "", ""},
		{"no end marker", [][]byte{good[:len(good)-1024]}, "", "b 0 644 yy"},
		{"padding", [][]byte{append(bytes.Clone(good), make([]byte, 9000)...)}, "", "b 0 644 yy"},
		{"something behind the end", [][]byte{append(bytes.Clone(good), bytes.Repeat([]byte("junk"), 900)...)}, "", "b 0 644 yy"},
		{"cut in a content", [][]byte{good[:900]}, "get a whole copy of it, then run", ""},
		{"cut in a header", [][]byte{good[:512+1024+200]}, "broken after", ""},
		{"a wrong checksum", one(raw{name: "a", kind: '0', badSum: true}), "no tar archive", ""},
		{"text", [][]byte{[]byte(strings.Repeat("hello\n", 500))}, "no tar archive", ""},
		{"a few bytes", [][]byte{[]byte("abc")}, "no tar archive", ""},
		{"an ELF program", [][]byte{append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 2000)...)}, "no tar archive", ""},
		{"xz", [][]byte{append([]byte("\xfd7zXZ\x00"), make([]byte, 600)...)}, "compressed with xz", ""},
		{"bzip2", [][]byte{append([]byte("BZh9"), make([]byte, 600)...)}, "compressed with bzip2", ""},
		{"zip", [][]byte{append([]byte("PK\x03\x04"), make([]byte, 600)...)}, "compressed with zip", ""},
		{"gzip's magic alone", [][]byte{{0x1f, 0x8b}}, "layer 1 of 1", ""},
		{"zstd's magic alone", [][]byte{{0x28, 0xb5, 0x2f, 0xfd}}, "layer 1 of 1", ""},
		{"cut gzip", [][]byte{gzipped(t, good)[:60]}, "layer 1 of 1", ""},
		{"gzip with its sum cut off", [][]byte{func() []byte { z := gzipped(t, good); return z[:len(z)-4] }()}, "layer 1 of 1", ""},
		{"gzip with a wrong sum", [][]byte{func() []byte { z := gzipped(t, good); z[len(z)-6] ^= 1; return z }()}, "layer 1 of 1", ""},
		{"gzip in members", [][]byte{append(gzipped(t, good[:700]), gzipped(t, good[700:])...)}, "", "b 0 644 yy"},
		{"gzip in gzip", [][]byte{gzipped(t, gzipped(t, good))}, "no tar archive", ""},
		{"junk behind gzip", [][]byte{append(gzipped(t, good), "junk"...)}, "layer 1 of 1", ""},
		{"zstd in frames", [][]byte{append(zstded(t, good[:700]), zstded(t, good[700:])...)}, "", "b 0 644 yy"},
		{"zstd with a frame to skip", [][]byte{append([]byte{0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}, zstded(t, good)...)}, "", "b 0 644 yy"},
		{"cut zstd", [][]byte{zstded(t, good)[:30]}, "layer 1 of 1", ""},
		{"zstd that wants two gigabytes", [][]byte{{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 1, 0, 0, 0, 0}}, "memory", ""},
		{"a good layer below a broken one", [][]byte{good, []byte(strings.Repeat("hello\n", 500))}, "layer 2 of 2", ""},
	}
}

// TestOddArchives holds that each is refused with a clear error, or comes out right, however it is packed.
func TestOddArchives(t *testing.T) {
	t.Parallel()
	cases := append(append(append(names(t), linking(t)...), kinds(t)...), streams(t)...)
	compressed := regexp.MustCompile("gzip|bzip2|zip|zstd|xz")
	refused := 0
	for _, c := range cases {
		packed := ways()
		if len(c.layers[0]) == 0 || compressed.MatchString(c.name) {
			packed = packed[:1]
		}
		o := Options{Limits: DefaultLimits()}
		o.Limits.Bytes = 64 << 20
		for _, w := range packed {
			got, _, err := w.flat(t, o, c.layers...)
			switch {
			case err != nil && c.refused == "" && c.want == "":
				fallthrough // any clear error will do
			case err != nil && c.refused != "":
				if !strings.Contains(err.Error(), c.refused) || !strings.HasPrefix(err.Error(), "cannot take the image: ") || model.KindOf(err) == nil {
					t.Errorf("%s (%s): refused with %q (%v), want %q", c.name, w.name, err, model.KindOf(err), c.refused)
				}
				if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < 0x20 }) {
					t.Errorf("%s: the error has control characters: %q", c.name, err)
				}
			case err != nil:
				t.Errorf("%s (%s): %v", c.name, w.name, err)
			case c.refused != "":
				t.Errorf("%s (%s): taken:\n%s", c.name, w.name, shape(got))
			case !strings.Contains(shape(got), c.want):
				t.Errorf("%s (%s): got\n%s\nwant\n%s", c.name, w.name, shape(got), c.want)
			}
			if err != nil && w.name == "plain" {
				refused++
			}
		}
	}
	t.Logf("%d hostile or odd archives: %d refused, %d right", len(cases), refused, len(cases)-refused)
	if len(cases) < 60 {
		t.Errorf("only %d archives", len(cases))
	}
}
