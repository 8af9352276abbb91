package cli

import (
	"unicode/utf8"

	"github.com/spf13/cobra"

	"banger/internal/model"
	"banger/internal/version"
)

func newRoot(a *app) *cobra.Command {
	root := group("banger", "Disposable Linux machines in one command",
		newVM(a), newPS(a), newCP(a), newImage(a), newKernel(a), newDaemon(a), newDoctor(a), newSystem(a), newVersion(a), newCompletion(a),
	)
	root.Long = `A fresh microVM for a command, a shell or an agent: the guest sees none of your files,
and nothing of it is left when it is deleted.`
	root.Example = `  banger vm run -- cat /etc/hostname    a fresh VM, the command's output, its exit code
  banger vm run --name box              a kept VM, a shell in it
  banger vm exec box -- uname -a        one more command in it
  banger vm delete box`
	root.Version = version.Version
	root.SetVersionTemplate("banger {{.Version}}\n")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "no progress and no warnings; lists print names only")
	root.PersistentFlags().BoolVar(&a.noInput, "no-input", false, "never wait for somebody to type; an interactive shell is refused")
	return root
}

// group is a command that only holds others. A word that is none of them is an error, not a page of help.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%q is not a command of %s", args[0], cmd.CommandPath())
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(commands...)
	return cmd
}

// names is the rule for commands that take at least least and at most most arguments (0: any number) of one kind.
func names(what string, least, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("name %s", model.Article(what))
		case most > 0 && len(args) > most:
			return usagef("name one %s, not %d", what, len(args))
		}
		for _, name := range args {
			if !utf8.ValidString(name) {
				return usagef("%q is not UTF-8: no %s has that name", name, what)
			}
		}
		return nil
	}
}

// nothing is the rule for commands without arguments.
func nothing(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%q: no argument is expected", args[0])
	}
	return nil
}
