package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"banger/client"
	"banger/internal/model"
)

type exportOptions struct {
	diffFlags
	output string
	apply  bool
	yes    bool
}

func newWorkspaceExport(a *app) *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export [flags] VM",
		Short: "Take what the guest has changed out, as a patch or into the project",
		Long: `Take what the guest has changed out of it. --output writes a patch for git apply; - is standard output. --apply writes the
changes to the project on the host: all of them or none, and only where each file is still as it was copied in. Every
changed file is listed, with what programs of the host would run by themselves. Files that would be dangerous to have (a
.git in any spelling, links out of the project) are refused.`,
		Example: `  banger vm workspace export --output fix.patch box
  banger vm workspace export --output - box | git apply
  banger vm workspace export --apply box`,
		Args:              names("VM", 1, 1),
		ValidArgsFunction: a.completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return a.withWorkspace(cmd.Context(), args[0], func(c *client.Client, v client.VM) error {
				if o.apply {
					return a.applyWorkspace(cmd.Context(), c, v, &o)
				}
				return a.exportPatch(cmd.Context(), c, v, &o)
			})
		},
	}
	addDiff(cmd, &o.diffFlags)
	fs := cmd.Flags()
	fs.BoolVar(&o.skip, "skip-refused", false, "leave out what is refused, and take the rest")
	fs.StringVarP(&o.output, "output", "o", "", "write the patch to `FILE`")
	fs.BoolVar(&o.apply, "apply", false, "write the changes to the project on the host")
	fs.BoolVarP(&o.yes, "yes", "y", false, "apply without a question")
	return cmd
}

func (o *exportOptions) check() error {
	switch {
	case o.apply && o.output != "":
		return usagef("--apply writes no patch, --output does: choose one")
	case !o.apply && o.output == "":
		return usagef("say where to: --output FILE for a patch, or --apply for the project itself")
	case o.apply && o.base != "":
		return usagef("--apply writes what the guest changed; --base-commit is for a patch: use --output")
	case o.yes && !o.apply:
		return usagef("--yes is for --apply")
	}
	return nil
}

func these(changes int) string {
	if changes == 1 {
		return "this change"
	}
	return fmt.Sprintf("these %d changes", changes)
}

// exportPatch writes the patch, to a file whole or not at all.
func (a *app) exportPatch(ctx context.Context, c *client.Client, v client.VM, o *exportOptions) error {
	var tree string
	review := func(r client.Review) error {
		tree = r.Tree
		return a.review(a.Err, r)
	}
	write := func(w io.Writer) error { return c.DiffWorkspace(ctx, o.request(v.ID), review, w) }
	if o.output == "-" {
		to, end := a.patchOutput()
		if err := write(to); err != nil {
			return err
		}
		if err := end(); err != nil {
			return err
		}
	} else if err := writeWhole(o.output, write); err != nil {
		return err
	}
	if tree == "" {
		a.say("not all that changed is in the patch; the rest comes with: banger vm workspace export --output FILE " + v.Name)
		return nil
	}
	return c.MarkExported(ctx, v.ID, tree)
}

// writeWhole gives a file its content once that is complete and on the disk.
func writeWhole(path string, content func(io.Writer) error) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // it would be replaced
		return model.Errorf(model.ErrInvalid, "cannot write the patch to %s: that is no regular file; name another, or write to standard output with: --output -", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".banger-*.tmp")
	if err != nil {
		return unwritten(path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := content(f); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close(), os.Rename(f.Name(), path)); err != nil {
		return unwritten(path, err)
	}
	return nil
}

// unwritten is an error about a file beside path, without the name that it has for a moment.
func unwritten(path string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return model.HostErrorf(err, "cannot write %s in the directory %s (choose another place with --output)", filepath.Base(path), filepath.Dir(path))
}

// applyWorkspace writes the changes. On a terminal they are shown first, and what is written is what was shown.
func (a *app) applyWorkspace(ctx context.Context, c *client.Client, v client.VM, o *exportOptions) error {
	if v.Workspace == nil {
		_, err := c.ShowWorkspace(ctx, v.ID) // says so
		return err
	}
	r := client.ApplyRequest{VM: v.ID, IncludeIgnored: o.ignored, SkipRefused: o.skip}
	asked := !o.yes && a.canAsk()
	if asked {
		d := o.request(v.ID)
		d.ReviewOnly = true
		var review client.Review
		err := c.DiffWorkspace(ctx, d, func(got client.Review) error { review = got; return a.review(a.Err, got) }, io.Discard)
		if err != nil {
			return err
		}
		if len(review.Changes) > 0 {
			if yes, _ := a.ask(fmt.Sprintf("write %s to %s?", these(len(review.Changes)), v.Workspace.Host)); !yes {
				return errors.New("nothing was written")
			}
		}
		r.Tree = review.Tree
	}
	review, err := c.ApplyWorkspace(ctx, r)
	if err != nil {
		return err
	}
	if !asked {
		if err := a.review(a.Err, review); err != nil {
			return err
		}
	}
	if len(review.Changes) == 0 {
		a.say("the guest has changed nothing")
		return nil
	}
	n, are, them := len(review.Changes), "changes are", "them"
	if n == 1 {
		are, them = "change is", "it"
	}
	a.say(fmt.Sprintf("%d %s in %s; take %s back with: banger vm workspace undo %s", n, are, v.Workspace.Host, them, v.Name))
	return nil
}
