package cli

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"banger/client"
	"banger/internal/model"
)

type execOptions struct {
	ref         string
	argv        []string
	interactive bool
	tty         bool
	env         []string
	workdir     string
	user        string
	timeout     durationFlag
}

func newVMExec(a *app) *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:   "exec [flags] VM [--] COMMAND [ARG...]",
		Short: "Run a command in a running VM",
		Long: `Run a command in a running VM. Its exit code is banger's; see "banger vm run --help" for the others.
Flags stand before the VM: what stands after it is the command's, and reaches it untouched.`,
		Example: `  banger vm exec box -- uname -a
  banger vm exec -it box bash
  banger vm exec -i box -- sh -c 'cat >notes' <notes`,
		Annotations:       map[string]string{passesCode: "yes"},
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.ref, o.argv, err = refAndCommand(args); err != nil {
				return err
			}
			if len(o.argv) == 0 {
				return usagef("name a command: banger vm exec %s -- COMMAND, or for a shell: banger vm shell %s", o.ref, o.ref)
			}
			return runExec(cmd.Context(), a, &o)
		},
	}
	cmd.Flags().SetInterspersed(false)
	addStreams(cmd, &o.interactive, &o.tty)
	addContext(cmd, &o)
	cmd.Flags().Var(&o.timeout, "timeout", "end the command after this long")
	return cmd
}

func addContext(cmd *cobra.Command, o *execOptions) {
	cmd.Flags().StringArrayVarP(&o.env, "env", "e", nil, "set an environment variable, `NAME=VALUE`; NAME alone copies ours")
	cmd.Flags().StringVarP(&o.workdir, "workdir", "w", "", "directory to start in")
	cmd.Flags().StringVarP(&o.user, "user", "u", "", "user to run as, `NAME` or UID[:GID]")
}

// refAndCommand takes a command line apart whose flags ended at the VM. A -- may stand before the command.
func refAndCommand(args []string) (ref string, argv []string, err error) {
	if len(args) == 0 {
		return "", nil, usagef("name a VM")
	}
	ref, argv = args[0], args[1:]
	if !utf8.ValidString(ref) {
		return "", nil, usagef("%q is not UTF-8: no VM has that name", ref)
	}
	if len(argv) > 0 && argv[0] == "--" {
		return ref, argv[1:], nil
	}
	if len(argv) > 0 && strings.HasPrefix(argv[0], "-") {
		return "", nil, usagef("%s stands after the VM: flags stand before it, and a command that begins with a hyphen after --", argv[0])
	}
	return ref, argv, nil
}

func runExec(ctx context.Context, a *app, o *execOptions) error {
	if err := a.checkStreams(o.interactive, o.tty, len(o.argv) == 0); err != nil {
		return err
	}
	r := a.execRequest("", o.argv, o.interactive, o.tty, time.Duration(o.timeout))
	r.Env, r.Workdir, r.User = a.environment(o.env), o.workdir, o.user
	if err := checkCommand(r); err != nil {
		return err
	}
	sigs, stop := a.catchAll()
	defer stop()
	c, err := interruptible(ctx, sigs, func(ctx context.Context) (*client.Client, error) { return a.dial(ctx, true) })
	if err != nil {
		return err
	}
	defer c.Close()
	v, err := resolveOne(ctx, c, o.ref)
	if err != nil {
		return err
	}
	r.VM = v.ID
	return codeError(a.attach(ctx, c, r, sigs))
}

// execRequest is the request for a command, or, without one, for a shell: that one has our input, and a terminal when we
// have one ourselves.
func (a *app) execRequest(vm string, argv []string, interactive, tty bool, timeout time.Duration) client.ExecRequest {
	r := client.ExecRequest{VM: vm, Argv: argv, Stdin: interactive, TTY: tty, Timeout: timeout}
	if len(argv) == 0 {
		r.Shell, r.Stdin = true, true
		r.TTY = tty || isTerminal(a.In) && isTerminal(a.Out)
	}
	return r
}

// checkCommand finds early what the daemon would refuse.
func checkCommand(r client.ExecRequest) error {
	if r.Shell {
		r.Argv = []string{"sh"}
	}
	return model.ExecSpec{Argv: r.Argv, Env: r.Env, Workdir: r.Workdir, User: r.User, Timeout: r.Timeout}.Validate()
}

func resolveOne(ctx context.Context, c *client.Client, ref string) (client.VM, error) {
	found, err := c.Resolve(ctx, []string{ref})
	if err != nil {
		return client.VM{}, err
	}
	if len(found) != 1 {
		return client.VM{}, client.ErrUnavailable
	}
	return found[0].VM, found[0].Err
}
