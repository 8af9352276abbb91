//go:build crash

package daemon_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"banger/client"
	"banger/internal/image/imagetest"
	"banger/internal/model"
	"banger/internal/testenv"
)

// imageJob is one thing that a client asks of images or kernels, and the points at which its daemon is killed.
type imageJob struct {
	prepare func(h *host) // before any daemon, on a host with the default image and kernel
	do      func(ctx context.Context, c *client.Client) error
	kept    []string // names of images that are there whatever happens
	after   []string // names that are there once it was done
	kernels int
	check   func(images []client.Image) string // what else is wrong then; may be nil
	points  []string
}

// inputs are what the jobs take images from.
type inputs struct{ tools, disk, archive, pulled, registered string }

func newInputs(t *testing.T) inputs {
	t.Helper()
	for _, tool := range []string{"mke2fs", "tune2fs", "debugfs", "resize2fs", "e2fsck"} {
		testenv.NeedTool(t, tool)
	}
	dir := t.TempDir()
	in := inputs{tools: filepath.Join(dir, "tools"), disk: filepath.Join(dir, "root.ext4"), archive: filepath.Join(dir, "root.tar")}
	root := imagetest.Tar(imagetest.File{Name: "etc/os-release", Content: "ID=test\n"})
	if err := errors.Join(os.Mkdir(in.tools, 0o700), imagetest.WriteTools(in.tools), os.WriteFile(in.archive, root, 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), testenv.NeedTool(t, "mke2fs"), "-q", "-t", "ext4", in.disk, "16M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	registry := imagetest.NewRegistry()
	t.Cleanup(registry.Close)
	in.pulled = registry.Push("team/tool:1", imagetest.Image(v1.Config{}, root, imagetest.Tar(imagetest.File{Name: "new", Content: "new"})))
	return in
}

func (in inputs) jobs() map[string]imageJob {
	both := []string{model.DefaultImage, "mine"}
	wait := func(op *client.Operation, err error) error {
		_, err = finish(op, err)
		return err
	}
	register := func(ctx context.Context, c *client.Client) error {
		return wait(c.RegisterImage(ctx, client.RegisterRequest{Name: "mine", Path: in.disk}))
	}
	return map[string]imageJob{
		"build a kernel": {
			prepare: func(h *host) { h.remove(h.dirs.Kernels()) },
			do: func(ctx context.Context, c *client.Client) error {
				return wait(c.Create(ctx, client.CreateRequest{Name: "box", DiskBytes: model.MinDiskBytes}))
			},
			kept: both[:1], after: both[:1], kernels: 1,
			points: []string{
				"image.draft.before", "image.draft.after", "image.scratch.before", "image.scratch.after", "image.program.before", "image.program.after#2",
				"image.kernel.before-modules", "image.finish.before", "image.finish.after", "image.scratch.before-removal", "image.scratch.removed",
				"image.kernel.before-digest", "image.publish.before-rename", "image.publish.before-row", "image.publish.after-row", "image.publish.verified",
				"image.settle.after", "image.draft.before-removal", "image.draft.removed",
			},
		},
		"build an image": {
			prepare: func(h *host) { h.remove(h.dirs.Images()) },
			do: func(ctx context.Context, c *client.Client) error {
				return wait(c.BuildImage(ctx, model.DefaultImage, false))
			},
			after: both[:1], kernels: 1,
			points: []string{
				"image.claim.before", "image.claim.after", "image.bootstrap.before", "image.bootstrap.linked", "image.bootstrap.after", "image.program.after",
				"image.build.before-finish", "image.finish.after#5", "image.bootstrap.removed", "image.claim.before-removal",
			},
		},
		"import": {
			do: func(ctx context.Context, c *client.Client) error {
				archive, err := os.Open(in.archive)
				if err != nil {
					return err
				}
				defer archive.Close()
				return wait(c.ImportImage(ctx, client.ImportRequest{Name: "mine", Stream: archive}))
			},
			kept: both[:1], after: both, kernels: 1,
			points: []string{"image.import.spooled", "image.flatten.before-finish"},
		},
		"pull": {
			do: func(ctx context.Context, c *client.Client) error {
				return wait(c.PullImage(ctx, client.PullRequest{Ref: in.pulled}))
			},
			kept: both[:1], after: []string{in.pulled, model.DefaultImage}, kernels: 1,
			points: []string{
				"image.claim.after#2", "image.layer.before-rename", "image.layer.after-rename", "image.pull.before-layers", "image.layer.before-rename#3",
				"image.layer.after-rename#3", "image.pull.after-layers", "image.publish.after-row",
			},
		},
		"register": {
			do:   register,
			kept: both[:1], after: both, kernels: 1,
			points: []string{
				"image.draft.after", "image.register.copied", "image.build.before-digest", "image.publish.before-rename", "image.publish.before-row",
				"image.publish.after-row", "image.publish.verified", "image.settle.after", "image.draft.before-removal", "image.draft.removed",
			},
		},
		"register again": { // the new one takes the place of the old one, which is the same
			prepare: func(h *host) { h.take(in.registered) }, do: register,
			kept: both, after: both, kernels: 1,
			points: []string{
				"image.publish.before-rename", "image.publish.before-row", "image.publish.after-row", "image.publish.verified", "image.settle.after",
				"image.draft.before-removal",
			},
		},
		"tag": {
			do: func(ctx context.Context, c *client.Client) error {
				_, err := c.TagImage(ctx, model.DefaultImage, "mine")
				return err
			},
			kept: both[:1], after: both, kernels: 1, points: []string{"image.name.before", "image.name.after"},
		},
		"promote": {
			do: func(ctx context.Context, c *client.Client) error {
				_, terr := c.TagImage(ctx, model.DefaultImage, "mine")
				_, err := c.PromoteImage(ctx, "mine")
				return errors.Join(terr, err)
			},
			kept: both[:1], after: both, kernels: 1,
			check: func(images []client.Image) string {
				if !images[0].Default {
					return "the promoted image is not the default one"
				}
				return ""
			},
			points: []string{"image.promote.before", "image.promote.after"},
		},
		"delete a name": {
			do: func(ctx context.Context, c *client.Client) error {
				_, terr := c.TagImage(ctx, model.DefaultImage, "mine")
				_, err := c.DeleteImage(ctx, "mine")
				return errors.Join(terr, err)
			},
			kept: both[:1], after: both[:1], kernels: 1, points: []string{"image.unname.before", "image.unname.after"},
		},
		"delete an image": {
			do: func(ctx context.Context, c *client.Client) error { return gone(c.DeleteImage(ctx, model.DefaultImage)) }, kernels: 1,
			points: []string{
				"image.claim.after", "image.delete.before-mark", "image.delete.before-row", "image.delete.after-row", "image.discard.before",
				"image.discard.renamed", "image.discard.after", "image.claim.removed",
			},
		},
		"delete a kernel": {
			do: func(ctx context.Context, c *client.Client) error {
				return gone(c.DeleteKernel(ctx, model.DefaultKernel))
			},
			kept: both[:1], after: both[:1],
			points: []string{"image.delete.before-row", "image.delete.after-row", "image.discard.renamed"},
		},
		"prune": {
			prepare: func(h *host) { h.plantLayers() },
			do: func(ctx context.Context, c *client.Client) error {
				_, err := c.PruneImages(ctx, true, false)
				return err
			},
			kernels: 1,
			points:  []string{"image.delete.before-row", "image.delete.after-row", "image.discard.renamed", "image.prune.before-layers", "image.prune.after-layers"},
		},
		"adopt": {
			do:   func(context.Context, *client.Client) error { return nil },
			kept: both[:1], after: both[:1], kernels: 1,
			points: []string{"image.adopt.before-row", "image.adopt.after-row", "image.adopt.before-row#2", "image.adopt.after-row#2"},
		},
	}
}

// gone takes it for done that something is not there.
func gone[T any](_ T, err error) error {
	if errors.Is(err, client.ErrNotFound) {
		return nil
	}
	return err
}
