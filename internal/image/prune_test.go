package image

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"banger/internal/model"
)

func TestTagAndPromote(t *testing.T) {
	t.Parallel()
	b := newBench(t, fakeRecipe{content: func(n int64) string { return fmt.Sprint(n) }})
	ctx := t.Context()
	one, err := b.BuildImage(ctx, "one", false, model.Discard)
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.BuildImage(ctx, "two", false, model.Discard)
	if err != nil {
		t.Fatal(err)
	}
	tagged, err := b.Tag(ctx, "one", "team/tool")
	if err != nil || fmt.Sprint(tagged.Tags) != "[one team/tool:latest]" {
		t.Errorf("%v, %v", tagged.Tags, err)
	}
	for _, ref := range []string{"team/tool", "team/tool:latest", "one"} {
		if i, err := b.Image(ctx, ref); err != nil || i.Digest != one.Digest {
			t.Errorf("%s: %v, %v", ref, i.Digest, err)
		}
	}
	if _, err := b.Tag(ctx, "none", "x"); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("tag of nothing: %v", err)
	}
	if _, err := b.Tag(ctx, "one", "Bad Name"); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("a bad name: %v", err)
	}

	// The default is a name: whichever image has it.
	if name, err := b.DefaultImage(ctx); err != nil || name != model.DefaultImage {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := b.Promote(ctx, "team/tool"); err != nil {
		t.Fatal(err)
	}
	if i, err := b.Obtain(ctx, Want{}, model.Discard); err != nil || i.Digest != one.Digest {
		t.Errorf("the default is %v, %v", i.Digest, err)
	}
	if _, err := b.Tag(ctx, "two", "team/tool"); err != nil {
		t.Fatal(err)
	}
	if i, err := b.Obtain(ctx, Want{}, model.Discard); err != nil || i.Digest != two.Digest {
		t.Errorf("the default is %v, %v", i.Digest, err)
	}

	// Neither a delete nor a prune leaves the default without an image. The way out needs no image to be there.
	for _, ref := range []string{"team/tool", string(two.Digest)} {
		if _, err := b.DeleteImage(ctx, ref); !errors.Is(err, model.ErrState) || !strings.Contains(err.Error(), "banger image promote debian") {
			t.Errorf("delete of the default %s: %v", ref, err)
		}
	}
	if p, err := b.Prune(ctx, true, true); err != nil || len(p.Images) != 1 || p.Images[0].Digest != one.Digest {
		t.Errorf("prune beside the default: %+v, %v", p.Images, err)
	}
	b.catalog.promoted = "gone:latest"
	if _, err := b.Obtain(ctx, Want{}, model.Discard); !errors.Is(err, model.ErrNotFound) || !strings.Contains(err.Error(), "banger image promote") || strings.Contains(err.Error(), "pull") {
		t.Errorf("a default that is missing: %v", err)
	}
	if _, err := b.Promote(ctx, model.DefaultImage); err != nil {
		t.Fatal(err)
	}

	// A delete takes a name, and the image with the last one.
	if _, err := b.DeleteImage(ctx, "team/tool"); err != nil {
		t.Fatal(err)
	}
	if i, err := b.Image(ctx, "two"); err != nil || len(i.Tags) != 1 {
		t.Errorf("%v, %v", i.Tags, err)
	}
	if _, err := b.DeleteImage(ctx, "two"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Image(ctx, string(two.Digest)); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("after its last name: %v", err)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	b := newBench(t, fakeRecipe{content: func(n int64) string { return fmt.Sprint(n) }})
	ctx := t.Context()
	var digests []model.Digest
	for range 3 { // each takes the name from the one before
		i, err := b.BuildImage(ctx, "debian", true, model.Discard)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, i.Digest)
	}
	r := newRegistry(t)
	pulled, err := b.pull(t, r.Push("a:1", twoLayers(1)))
	if err != nil {
		t.Fatal(err)
	}
	b.catalog.used[digests[0]] = true
	dry, err := b.Prune(ctx, false, true)
	if err != nil || len(dry.Images) != 1 || dry.Images[0].Digest != digests[1] || dry.Layers != 3 || dry.LayerBytes < 400_000 || dry.Bytes != dry.LayerBytes+dry.Images[0].DiskBytes {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	if all, _ := b.Images(ctx); len(all) != 4 {
		t.Errorf("a dry run removed something: %v", all)
	}
	did, err := b.Prune(ctx, false, false)
	if err != nil || did.Bytes != dry.Bytes || len(did.Images) != 1 {
		t.Errorf("%+v, %v", did, err)
	}
	if n, bytes, err := b.layerCache().Usage(); n != 0 || bytes != 0 || err != nil {
		t.Errorf("layers are left: %d, %d, %v", n, bytes, err)
	}
	if all, _ := b.Images(ctx); len(all) != 3 {
		t.Errorf("left %v", all)
	}
	did, err = b.Prune(ctx, true, false)
	if err != nil || len(did.Images) != 2 || did.Layers != 0 {
		t.Errorf("all: %+v, %v", did, err)
	}
	if i, err := b.Image(ctx, string(digests[0])); err != nil {
		t.Errorf("the one in use: %v, %v", i, err)
	}
	if _, err := b.Image(ctx, pulled.Name); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("the pulled one: %v", err)
	}
}

func TestPruneSparesAPull(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	r := newRegistry(t)
	ref := r.Push("a:1", twoLayers(1))
	b := newBench(t, fakeRecipe{})
	other := benchOver(b.dirs, b.agent, fakeRecipe{})
	pruned := 0
	_, err := b.Pull(t.Context(), Want{Ref: ref, Policy: PullAlways}, func(p model.Progress) {
		switch p.Stage {
		case "download the layers", "read the layers", "finish the file system":
			if p, err := other.Prune(t.Context(), true, false); err != nil || p.Layers != 0 {
				t.Errorf("prune: %+v, %v", p, err)
			}
			pruned++
		}
	})
	if err != nil || pruned < 3 {
		t.Errorf("%d prunes, %v", pruned, err)
	}
}

// TestTheNameThatWasAskedFor is of images of equal content, which are one image with several names.
func TestTheNameThatWasAskedFor(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	b := newBench(t, fakeRecipe{})
	ctx := t.Context()
	r := newRegistry(t)
	refs := []string{r.Push("a:1", twoLayers(1)), r.Push("b:2", twoLayers(1))}
	for range 2 { // made, and found again
		for _, ref := range refs {
			if i, err := b.pull(t, ref); err != nil || i.Name != ref {
				t.Errorf("pull %s: %q, %v", ref, i.Name, err)
			}
			if i, err := b.Obtain(ctx, Want{Ref: ref}, model.Discard); err != nil || i.Name != ref {
				t.Errorf("obtain %s: %q, %v", ref, i.Name, err)
			}
		}
	}
	layout := layoutOf(t, twoLayers(1))
	if i, err := b.Import(ctx, ImportRequest{Name: "mine", Path: layout}, model.Discard); err != nil || i.Name != "mine" || len(i.Tags) != 3 {
		t.Errorf("import: %q of %q, %v", i.Name, i.Tags, err)
	}
}
