package layers

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"banger/internal/model"
)

// FuzzFlatten holds that two layers of any bytes are refused with an error that has a kind, or become a tar that the ext4
// writer can take, the same one whichever way they are read.
func FuzzFlatten(f *testing.F) {
	for _, c := range mergeCases() {
		lower, upper := archive(f, c.layers[0]...), archive(f)
		if len(c.layers) > 1 {
			upper = archive(f, c.layers[1]...)
		}
		f.Add(lower, upper)
	}
	for _, c := range append(append(append(names(f), linking(f)...), kinds(f)...), streams(f)...) {
		if len(c.layers[0]) < 100_000 {
			f.Add(c.layers[0], []byte(nil))
		}
	}
	limits := Limits{Bytes: 1 << 20, Ratio: 100, Entries: 500, Path: 500, Depth: 50, Layers: 3, Index: 1 << 20}
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		ls := blobs(lower, upper)
		if len(upper) == 0 {
			ls = ls[:1]
		}
		var outs [2]bytes.Buffer
		var errs [2]error
		for i, o := range []Options{{Limits: limits}, {Limits: limits, Scratch: t.TempDir(), Once: true}} {
			_, errs[i] = Flatten(t.Context(), &outs[i], ls, o)
		}
		if errors.Is(errs[1], ErrTwice) {
			outs[1].Reset()
			_, errs[1] = Flatten(t.Context(), &outs[1], ls, Options{Limits: limits})
		}
		if (errs[0] == nil) != (errs[1] == nil) {
			t.Fatalf("one way %v, another %v", errs[0], errs[1])
		}
		if err := errs[0]; err != nil {
			if model.KindOf(err) == nil || !strings.HasPrefix(err.Error(), "cannot take the image: ") {
				t.Fatalf("%v: %v", model.KindOf(err), err)
			}
			return
		}
		got, other := parse(t, outs[0].Bytes()), parse(t, outs[1].Bytes())
		if got.String() != other.String() {
			t.Fatalf("one way\n%s\nanother\n%s", got, other)
		}
	})
}
