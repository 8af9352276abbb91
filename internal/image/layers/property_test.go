package layers

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"banger/internal/image/layers/layerstest"
)

// drawLayer makes a layer of a few names that are likely to meet each other: the rules differ only where they do.
func drawLayer(t *rapid.T) []byte {
	component := rapid.SampledFrom([]string{"a", "b", "c"})
	name := rapid.Custom(func(t *rapid.T) string {
		n := component.Draw(t, "name")
		for range rapid.IntRange(0, 2).Draw(t, "depth") {
			n += "/" + component.Draw(t, "below")
		}
		return n
	})
	target := rapid.OneOf(name, rapid.SampledFrom([]string{"..", "../a", "/b", "/", ".", "../../c", "a/../b", "no/../a"}))
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := range rapid.IntRange(0, 9).Draw(t, "entries") {
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: name.Draw(t, "entry"), Format: tar.FormatPAX, ModTime: time.Unix(int64(i), 0),
			Mode: rapid.Int64Range(0, 0o7777).Draw(t, "mode"), Uid: rapid.IntRange(0, 9).Draw(t, "uid"),
		}
		dir, base := split(h.Name)
		switch rapid.IntRange(0, 11).Draw(t, "kind") {
		case 0, 1, 2, 6:
			h.Typeflag = tar.TypeDir
		case 3, 4:
			h.Typeflag, h.Linkname = tar.TypeSymlink, target.Draw(t, "target")
		case 5:
			h.Typeflag, h.Linkname = tar.TypeLink, name.Draw(t, "target")
		case 7:
			h.Name = join(dir, ".wh."+base)
		case 8:
			h.Name = join(dir, ".wh..wh..opq")
		case 9:
			h.Typeflag, h.Devmajor = tar.TypeChar, rapid.Int64Range(0, 1).Draw(t, "device")
		default:
			h.Size = int64(rapid.IntRange(0, 3).Draw(t, "size"))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		content := fmt.Sprintf("%03d", rapid.IntRange(0, 999).Draw(t, "content"))
		if _, err := w.Write([]byte(content[:h.Size])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestRandomLayersMergeAsTheReference holds the tree, with its shortcuts, against the map without any.
func TestRandomLayersMergeAsTheReference(t *testing.T) {
	t.Parallel()
	scratch, refused, right, twice := t.TempDir(), 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		var tars [][]byte
		for range rapid.IntRange(1, 4).Draw(rt, "layers") {
			tars = append(tars, drawLayer(rt))
		}
		o := Options{Limits: DefaultLimits()}
		ls := blobs(tars...)
		if rapid.Bool().Draw(rt, "gzip") {
			o.Scratch = scratch
			for i, data := range tars {
				ls[i] = blob(gzipped(t, data))
			}
		}
		var out bytes.Buffer
		o.Once = rapid.Bool().Draw(rt, "once")
		_, err := Flatten(t.Context(), &out, ls, o)
		if errors.Is(err, ErrTwice) {
			twice++
			o.Once = false
			out.Reset()
			_, err = Flatten(t.Context(), &out, ls, o)
		}
		want, refuses := layerstest.Merge(tars...)
		if (err != nil) != (refuses != nil) {
			rt.Fatalf("error %v, the reference has %v:\n%s", err, refuses, want)
		}
		if err != nil {
			refused++
			return
		}
		right++
		if got := parse(t, out.Bytes()); got.String() != want.String() {
			rt.Fatalf("got\n%s\nthe reference has\n%s", got, want)
		}
	})
	t.Logf("%d stacks merged, %d refused by both; %d could not be read once", right, refused, twice)
}

// TestWhiteoutsMayStandAnywhere holds that only a layer's other entries have an order.
func TestWhiteoutsMayStandAnywhere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		lower := drawLayer(rt)
		if _, err := layerstest.Merge(lower); err != nil {
			return
		}
		var entries []string
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a/a", "a/b/c", "b/a", "b/b", "c/a", "c/b/a"}), 1, 5, rapid.ID[string]).Draw(rt, "files") {
			entries = append(entries, "f "+name+" new")
		}
		whiteouts := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"f .wh.a", "f .wh.b", "f .wh.c", "f .wh..wh..opq"}), 1, 3, rapid.ID[string]).Draw(rt, "whiteouts")
		mixed := slices.Clone(entries)
		for _, w := range whiteouts {
			mixed = slices.Insert(mixed, rapid.IntRange(0, len(mixed)).Draw(rt, "place"), w)
		}
		var first string
		for i, lines := range [][]string{
			append(slices.Clone(whiteouts), entries...), append(slices.Clone(entries), whiteouts...), mixed,
		} {
			got, _, err := ways()[0].flat(t, Options{}, lower, archive(t, lines...))
			text := fmt.Sprint(got, err != nil)
			if i == 0 {
				first = text
			} else if text != first {
				rt.Fatalf("one order\n%s\nanother\n%s", first, text)
			}
		}
	})
}

func join(dir, base string) string {
	if dir == "." {
		return base
	}
	return dir + "/" + base
}
