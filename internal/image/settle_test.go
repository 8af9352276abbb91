package image

import (
	"errors"
	"testing"

	"banger/internal/model"
)

// TestARowThatCannotBeWrittenHarmsNothing builds and deletes while the database fails, before or after it has done what
// was asked: what becomes of the files is decided by the row that is there.
func TestARowThatCannotBeWrittenHarmsNothing(t *testing.T) {
	t.Parallel()
	full := errors.New("the database is full")
	build := func(b bench) error {
		_, err := b.BuildImage(t.Context(), model.DefaultImage, true, model.Discard)
		return err
	}
	remove := func(b bench) error {
		_, err := b.DeleteImage(t.Context(), model.DefaultImage)
		return err
	}
	for name, c := range map[string]struct {
		before bool // the image is there before
		do     func(b bench) error
		late   bool
		after  int // images afterwards
	}{
		"a first build":                   {do: build},
		"a first build that was recorded": {do: build, late: true, after: 1},
		"the same build again":            {before: true, do: build, after: 1},
		"a delete":                        {before: true, do: remove, after: 1},
		"a delete that was recorded":      {before: true, do: remove, late: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, fakeRecipe{})
			if c.before {
				if err := build(b); err != nil {
					t.Fatal(err)
				}
			}
			b.catalog.fail, b.catalog.late = full, c.late
			if err := c.do(b); !errors.Is(err, full) {
				t.Errorf("got %v", err)
			}
			all, err := b.Images(t.Context())
			if err != nil || len(all) != c.after || len(b.left(t)) != c.after {
				t.Fatalf("%d images, %v, and the files %v; want %d", len(all), err, b.left(t), c.after)
			}
			for _, i := range all {
				if err := b.VerifyContent(t.Context(), i.Digest); err != nil {
					t.Error(err)
				}
			}
			if left := b.traces(t); len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}
