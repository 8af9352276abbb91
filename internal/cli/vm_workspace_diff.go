package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"banger/client"
)

// diffFlags say what counts as changed; diff and export share them.
type diffFlags struct {
	ignored bool
	skip    bool
	base    string
}

func addDiff(cmd *cobra.Command, f *diffFlags) {
	fs := cmd.Flags()
	fs.BoolVar(&f.ignored, "include-ignored", false, "also new files that the project's ignore rules name")
	fs.StringVar(&f.base, "base-commit", "", "make the patch relative to this `REV` of the host's, not to what was copied in")
}

func (f *diffFlags) request(vm string) client.DiffRequest {
	return client.DiffRequest{VM: vm, IncludeIgnored: f.ignored, SkipRefused: f.skip, BaseCommit: f.base}
}

func newWorkspaceDiff(a *app) *cobra.Command {
	var f diffFlags
	var out format
	var list bool
	cmd := &cobra.Command{
		Use:   "diff [flags] VM",
		Short: "Show what the guest has changed",
		Long: `Show what the guest has changed since the project was copied in (commits and work tree alike), as a patch. On a terminal
control characters of the guest are shown and not obeyed. The list of changed files, with what programs of the host would
run by themselves, goes to standard error; with --list or as JSON it is the output, without the patch.`,
		Example: `  banger vm workspace diff box
  banger vm workspace diff --list box`,
		Args:              names("VM", 1, 1),
		ValidArgsFunction: a.completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withWorkspace(cmd.Context(), args[0], func(c *client.Client, v client.VM) error {
				if list || out == formatJSON {
					return a.listChanges(cmd.Context(), c, f.request(v.ID), out)
				}
				return a.showDiff(cmd.Context(), c, f.request(v.ID))
			})
		},
	}
	addDiff(cmd, &f)
	addFormat(cmd, &out)
	cmd.Flags().BoolVar(&list, "list", false, "list the changed files only")
	return cmd
}

func (a *app) listChanges(ctx context.Context, c *client.Client, r client.DiffRequest, f format) error {
	r.ReviewOnly = true
	return c.DiffWorkspace(ctx, r, func(review client.Review) error {
		if f == formatJSON {
			return a.writeJSON(review)
		}
		return a.review(a.Out, review)
	}, io.Discard)
}

func (a *app) showDiff(ctx context.Context, c *client.Client, r client.DiffRequest) error {
	r.SkipRefused = true // they are listed; nothing is written
	to, end := a.patchOutput()
	err := c.DiffWorkspace(ctx, r, func(review client.Review) error { return a.review(a.Err, review) }, to)
	if err != nil {
		return err
	}
	return end()
}

// patchOutput is our output, made harmless when it is a terminal.
func (a *app) patchOutput() (w io.Writer, end func() error) {
	if !isTerminal(a.Out) {
		return outputWriter{a}, func() error { return nil }
	}
	safe := &safeWriter{w: a.Out}
	return safe, safe.close
}

type outputWriter struct{ app *app }

func (w outputWriter) Write(p []byte) (int, error) {
	n, err := w.app.Out.Write(p)
	if err != nil {
		err = fmt.Errorf("cannot write the output: %w", err)
	}
	return n, err
}
