package layers

import (
	"strings"
	"testing"

	"banger/internal/image/layers/layerstest"
)

// lines is the shape of an image in short: "d NAME", "f NAME CONTENT", and so on, names of one file with "==".
func lines(m layerstest.Image) string {
	var out []string
	for line := range strings.Lines(m.String()) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, ". ") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

type mergeCase struct {
	name   string
	layers [][]string
	want   []string // without the root; metadata only where it differs from what entry writes
}

func mergeCases() []mergeCase {
	l := func(lines ...string) []string { return lines }
	return []mergeCase{
		{"one layer", [][]string{l("d a", "f a/b hello")}, l("a 5 644", "a/b 0 644 hello")},
		{"missing parents", [][]string{l("f x/y/z hi")}, l("x 5 755 implied", "x/y 5 755 implied", "x/y/z 0 644 hi")},
		{"odd spellings", [][]string{l("d ./", "d ./a/", "f /a//b hi", "f ./c/../d x")}, l("a 5 644", "a/b 0 644 hi", "d 0 644 x")},
		{"an upper file wins", [][]string{l("f a one"), l("f a two mode=600 uid=7")}, l("a 0 600 7 two")},
		{"a whiteout", [][]string{l("f a one", "f b two"), l("f .wh.a")}, l("b 0 644 two")},
		{"a whiteout of a directory", [][]string{l("d d", "f d/a", "f d/e/f"), l("f .wh.d")}, nil},
		{"a whiteout in a directory", [][]string{l("d d", "f d/a", "f d/b"), l("f d/.wh.a")}, l("d 5 644", "d/b 0 644")},
		{"a whiteout of nothing there", [][]string{l("f a"), l("f .wh.b")}, l("a 0 644")},
		{"a whiteout before its file", [][]string{l("f a one"), l("f .wh.a", "f a two")}, l("a 0 644 two")},
		{"a whiteout after its file", [][]string{l("f a one"), l("f a two", "f .wh.a")}, l("a 0 644 two")},
		{"a whiteout in the lowest layer", [][]string{l("f a one", "f .wh.a")}, l("a 0 644 one")},
		{"a whiteout before its directory", [][]string{l("d d uid=5", "f d/old"), l("f .wh.d", "d d", "f d/new")}, l("d 5 644", "d/new 0 644")},
		{"a whiteout after its directory", [][]string{l("d d uid=5", "f d/old"), l("d d", "f d/new", "f .wh.d")}, l("d 5 644", "d/new 0 644")},
		{"a whiteout of an implied directory", [][]string{l("d d uid=5", "f d/old"), l("f d/new", "f .wh.d")}, l("d 5 755 implied", "d/new 0 644")},
		{"the same, the other way round", [][]string{l("d d uid=5", "f d/old"), l("f .wh.d", "f d/new")}, l("d 5 755 implied", "d/new 0 644")},
		{"opaque before", [][]string{l("d d", "f d/a", "f d/s/b"), l("d d", "f d/.wh..wh..opq", "f d/c")}, l("d 5 644", "d/c 0 644")},
		{"opaque after", [][]string{l("d d", "f d/a", "f d/s/b"), l("d d", "f d/c", "f d/s/n", "f d/.wh..wh..opq")}, l("d 5 644", "d/c 0 644", "d/s 5 755 implied", "d/s/n 0 644")},
		{"opaque keeps the description", [][]string{l("d d uid=5", "f d/a"), l("f d/.wh..wh..opq")}, l("d 5 644 5")},
		{"an opaque root", [][]string{l("f a", "f b/c"), l("f x", "f .wh..wh..opq")}, l("x 0 644")},
		{"opaque below a replaced link", [][]string{l("f usr/lib/a", "s lib usr/lib"), l("d lib", "f lib/.wh..wh..opq", "f lib/n")}, l("lib 5 644", "lib/n 0 644", "usr 5 755 implied", "usr/lib 5 755 implied", "usr/lib/a 0 644")},
		{"a whiteout is for one layer", [][]string{l("f a one"), l("f .wh.a"), l("f a three")}, l("a 0 644 three")},
		{"a whiteout of a link, and names below", [][]string{l("s a c", "d c"), l("f a/x hi", "f .wh.a")}, l("a 5 755 implied", "a/x 0 644 hi", "c 5 644")},
		{"the same, the other way round", [][]string{l("s a c", "d c"), l("f .wh.a", "f a/x hi")}, l("a 5 755 implied", "a/x 0 644 hi", "c 5 644")},
		{"a file over a directory", [][]string{l("d d", "f d/a"), l("f d x")}, l("d 0 644 x")},
		{"a directory over a file", [][]string{l("f d x"), l("d d", "f d/a")}, l("d 5 644", "d/a 0 644")},
		{"an implied directory over a file", [][]string{l("f d x"), l("f d/a")}, l("d 5 755 implied", "d/a 0 644")},
		{"and back", [][]string{l("d d", "f d/a"), l("f d x"), l("d d", "f d/b")}, l("d 5 644", "d/b 0 644")},
		{"a link over a directory", [][]string{l("d d", "f d/a"), l("s d e")}, l("d 2 777 -> e")},
		{"a directory over a link", [][]string{l("s d e", "f e/x"), l("d d", "f d/a")}, l("d 5 644", "d/a 0 644", "e 5 755 implied", "e/x 0 644")},
		{"a directory described again", [][]string{l("d d mode=755 x:user.a=1", "f d/a"), l("d d mode=1777 uid=3 x:user.b=2")}, l("d 5 1777 3 user.b=2", "d/a 0 644")},
		{"twice in a layer", [][]string{l("f a one uid=1", "f a two mode=4755")}, l("a 0 4755 two")},
		{"a directory, then a file, in a layer", [][]string{l("d a", "f a/b", "f a x")}, l("a 0 644 x")},
		{"a file, then a directory, in a layer", [][]string{l("f a x", "d a", "f a/b")}, l("a 5 644", "a/b 0 644")},
		{"hard links", [][]string{l("f a one", "l b a", "l c/d ./a")}, l("a 0 644 one", "b 0 644 one == a", "c 5 755 implied", "c/d 0 644 one == a")},
		{"a hard link first", [][]string{l("l b a", "f a one")}, l("a 0 644 one", "b 0 644 one == a")},
		{"a chain, backwards", [][]string{l("l c b", "l b a", "f a one")}, l("a 0 644 one", "b 0 644 one == a", "c 0 644 one == a")},
		{"a hard link whose target is replaced", [][]string{l("f a one", "l b a"), l("f a two")}, l("a 0 644 two", "b 0 644 one")},
		{"a hard link whose target is removed", [][]string{l("f a one", "l b a"), l("f .wh.a")}, l("b 0 644 one")},
		{"a hard link to the new one", [][]string{l("f a one", "l b a"), l("l c a", "f a two")}, l("a 0 644 two", "b 0 644 one", "c 0 644 two == a")},
		{"a hard link to a lower one", [][]string{l("f a one"), l("l b a")}, l("a 0 644 one", "b 0 644 one == a")},
		{"a hard link in between", [][]string{l("f a one", "l b a", "f a two")}, l("a 0 644 two", "b 0 644 one")},
		{"a hard link to itself, once it is there", [][]string{l("f a one", "l a a")}, l("a 0 644 one")},
		{"a hard link, replaced", [][]string{l("l b a", "f b x", "f a one")}, l("a 0 644 one", "b 0 644 x")},
		{"a hard link to a symbolic link", [][]string{l("s a x", "l b a")}, l("a 2 777 -> x", "b 2 777 -> x == a")},
		{"a hard link to an empty file", [][]string{l("f b", "l a b")}, l("a 0 644", "b 0 644 == a")},
		{"a hard link through a link", [][]string{l("f usr/lib/a one", "s lib usr/lib", "l b lib/a")}, l("b 0 644 one", "lib 2 777 -> usr/lib", "usr 5 755 implied", "usr/lib 5 755 implied", "usr/lib/a 0 644 one == b")},
		{"AUFS", [][]string{l("f .wh..wh.aufs", "d .wh..wh.plnk", "f .wh..wh.plnk/1.2 one", "l a .wh..wh.plnk/1.2", "l b .wh..wh.plnk/1.2", "d .wh..wh.orph")}, l("a 0 644 one", "b 0 644 one == a")},
		{"below a link", [][]string{l("d usr/lib", "s lib usr/lib"), l("f lib/x hi")}, l("lib 2 777 -> usr/lib", "usr 5 755 implied", "usr/lib 5 644", "usr/lib/x 0 644 hi")},
		{"below an absolute link", [][]string{l("d usr/lib", "s a/lib /usr/lib"), l("f a/lib/x hi")}, l("a 5 755 implied", "a/lib 2 777 -> /usr/lib", "usr 5 755 implied", "usr/lib 5 644", "usr/lib/x 0 644 hi")},
		{"below a link that climbs out", [][]string{l("s a ../../../etc", "f a/x hi")}, l("a 2 777 -> ../../../etc", "etc 5 755 implied", "etc/x 0 644 hi")},
		{"below a dangling link", [][]string{l("s a b/../c", "f a/x hi")}, l("a 2 777 -> b/../c", "c 5 755 implied", "c/x 0 644 hi")},
		{"a whiteout below a link", [][]string{l("f usr/lib/x", "s lib usr/lib"), l("f lib/.wh.x")}, l("lib 2 777 -> usr/lib", "usr 5 755 implied", "usr/lib 5 755 implied")},
		{"links in links", [][]string{l("s a b", "s b /c/d", "d c/e", "s c/d e", "f a/x hi")}, l("a 2 777 -> b", "b 2 777 -> /c/d", "c 5 755 implied", "c/d 2 777 -> e", "c/e 5 644", "c/e/x 0 644 hi")},
		{"devices", [][]string{l("c null 1 3 mode=666", "b sda 8 0 gid=6", "p fifo")}, l("fifo 6 644", "null 3 666 dev 1,3", "sda 4 644 0:6 dev 8,0")},
		{"an overlay's whiteout", [][]string{l("f a one", "f b two"), l("c a 0 0")}, l("b 0 644 two")},
		{"special bits", [][]string{l("f su mode=4755", "f sg mode=2755", "d tmp mode=1777")}, l("sg 0 2755", "su 0 4755", "tmp 5 1777")},
		{"owners are numbers", [][]string{l("f a uid=4294967294 gid=100000")}, l("a 0 644 4294967294:100000")},
		{"attributes", [][]string{l("f a x:user.k=v x:security.capability=c x:security.selinux=s x:trusted.overlay.opaque=y")}, l("a 0 644 security.capability=c user.k=v")},
		{"old times", [][]string{l("f a time=-5")}, l("a 0 644 @0")},
	}
}

// shape writes an image as the cases do.
func shape(m layerstest.Image) string {
	var out []string
	for line := range strings.Lines(lines(m)) {
		line = strings.TrimSpace(line)
		words := strings.SplitN(line, " ", 5)
		owner, when := words[3], words[4]
		rest := ""
		if i := strings.IndexByte(when, ' '); i >= 0 {
			when, rest = when[:i], when[i:]
		}
		short := words[0] + " " + words[1] + " " + words[2]
		switch {
		case strings.HasSuffix(owner, ":0") && owner != "0:0":
			short += " " + strings.TrimSuffix(owner, ":0")
		case owner != "0:0":
			short += " " + owner
		}
		switch {
		case when == "@0" && words[1] == "5":
			short += " implied"
		case when != "@1000000000000":
			short += " " + when
		}
		out = append(out, strings.TrimRight(short+strings.ReplaceAll(rest, `"`, ""), " "))
	}
	return strings.Join(out, "\n")
}

func TestMerges(t *testing.T) {
	t.Parallel()
	for _, c := range mergeCases() {
		var tars [][]byte
		for _, lines := range c.layers {
			tars = append(tars, archive(t, lines...))
		}
		for _, w := range ways() {
			got, _, err := w.flat(t, Options{}, tars...)
			if err != nil {
				t.Errorf("%s (%s): %v", c.name, w.name, err)
				continue
			}
			if want := strings.Join(c.want, "\n"); shape(got) != want {
				t.Errorf("%s (%s): got\n%s\nwant\n%s", c.name, w.name, shape(got), want)
			}
			if c.name == "AUFS" {
				continue // the reference knows nothing of it
			}
			if want, err := layerstest.Merge(tars...); err != nil || got.String() != want.String() {
				t.Errorf("%s (%s): got\n%s\nthe reference has\n%s%v", c.name, w.name, got, want, err)
			}
		}
	}
}
