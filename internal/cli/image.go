package cli

import (
	"context"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"banger/client"
)

func newImage(a *app) *cobra.Command {
	return group("image", "Keep the root file systems that VMs start from",
		newImageList(a), newImageShow(a), newImageBuild(a), newImageImport(a), newImagePull(a), newImageRegister(a),
		newImageTag(a), newImagePromote(a), newImagePrune(a), newImageDelete(a))
}

// forEach does work for each reference in turn, and reports as each does for VMs.
func (a *app) forEach(ctx context.Context, refs []string, work func(ctx context.Context, c *client.Client, ref string) (string, error)) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	outcomes := make([]chan outcome, len(refs))
	for i, ref := range refs {
		outcomes[i] = make(chan outcome, 1)
		line, err := work(ctx, c, ref)
		outcomes[i] <- outcome{line, err}
	}
	return a.reportEach(outcomes)
}

// readable refuses words that the daemon could not be told: names and paths are UTF-8 to it.
func readable(words ...string) error {
	for _, w := range words {
		if !utf8.ValidString(w) {
			return usagef("%q is not UTF-8: give it another name", w)
		}
	}
	return nil
}

// nameOr is a name, or what stands for a thing that has lost its name.
func nameOr(name, digest string) string {
	if name != "" {
		return name
	}
	return shortDigest(digest)
}
