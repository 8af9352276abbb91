package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"banger/client"
)

type runOptions struct {
	specFlags
	remove      bool
	detach      bool
	interactive bool
	tty         bool
	timeout     durationFlag
	entrypoint  string
	entrypointF *pflag.Flag
	dash        bool     // a -- was given
	argv        []string // what stood after it
}

func newVMRun(a *app) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [flags] [-- COMMAND [ARG...]]",
		Short: "Make a VM and run a command or a shell in it",
		Long: `Make a VM, start it, and run a command in it with your standard streams; the command's exit code is banger's.
Without a command the image's own runs, or, where it has none, an interactive shell. The image's entrypoint is given the
command, as docker does; --entrypoint puts another in its place, or none with "".

A VM with a name is kept, unless --rm is given. One without is removed when its command has ended, or when banger is
killed; after a shell it is kept.

Exit codes besides the command's own: 125 banger failed, 126 the command cannot be executed, 127 it was not found,
128+N signal N ended it, 124 it took longer than --timeout.`,
		Example: `  banger vm run -- cat /etc/hostname
  banger vm run --name box
  banger vm run --rm -m 4G -- sh -c 'nproc; free -m'
  tar c . | banger vm run -i -- sh -c 'tar x && make test'
  banger vm run --image python:3.13 -- python3 -c 'print(42)'`,
		Annotations:       map[string]string{passesCode: "yes"},
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				o.dash, o.argv, args = true, args[n:], args[:n]
			}
			if len(args) > 0 {
				return usagef("%q: write the command after --, such as: banger vm run -- %s", args[0], args[0])
			}
			return runRun(cmd.Context(), a, &o)
		},
	}
	addSpec(a, cmd, &o.specFlags)
	cmd.Flags().BoolVar(&o.remove, "rm", false, "remove the VM at the end, named or not")
	cmd.Flags().BoolVarP(&o.detach, "detach", "d", false, "print the VM's name and leave it running, with the image's own command in it")
	cmd.Flags().StringVar(&o.entrypoint, "entrypoint", "", "run this `PROGRAM` of the image in place of its entrypoint; \"\" for none")
	o.entrypointF = cmd.Flags().Lookup("entrypoint")
	addStreams(cmd, &o.interactive, &o.tty)
	cmd.Flags().Var(&o.timeout, "timeout", "end the command after this long")
	return cmd
}

func addStreams(cmd *cobra.Command, interactive, tty *bool) {
	cmd.Flags().BoolVarP(interactive, "interactive", "i", false, "give the command our standard input")
	cmd.Flags().BoolVarP(tty, "tty", "t", false, "give the command a terminal")
}

// check refuses contradictions before anything is made.
func (o *runOptions) check(a *app) error {
	switch {
	case o.dash && len(o.argv) == 0:
		return usagef("no command stands after --")
	case o.detach && o.dash:
		return usagef("-d (--detach) runs no command: leave the command out, and run it with: banger vm exec")
	case o.detach && (o.interactive || o.tty):
		return usagef("-d (--detach) leaves no streams for -i and -t")
	case o.detach && o.remove:
		return usagef("-d (--detach) keeps the VM, --rm does not: choose one")
	case o.timeout != 0 && !o.dash:
		return usagef("--timeout is for a command: write one after --")
	}
	if o.detach {
		return nil
	}
	return a.checkStreams(o.interactive, o.tty, !o.dash)
}

// override takes the image's entrypoint out of the game when --entrypoint is given, and says whether it was. The command is
// then all that there is, or, without any, a shell.
func (o *runOptions) override() bool {
	if o.entrypointF == nil || !o.entrypointF.Changed {
		return false
	}
	if o.entrypoint != "" {
		o.argv, o.dash = append([]string{o.entrypoint}, o.argv...), true
	}
	return true
}

// checkStreams refuses to type from a terminal that we do not have (a command without our input gets one all the same), and
// with --no-input a shell at one that we do.
func (a *app) checkStreams(interactive, tty, shell bool) error {
	if tty && (interactive || shell) && !isTerminal(a.In) {
		return errors.New("the input device is not a TTY")
	}
	if a.noInput && (tty || shell && isTerminal(a.In)) {
		return usagef("--no-input leaves nobody to type: give a command")
	}
	return nil
}

func (o *runOptions) leased() bool { return o.remove || o.dash && o.name == "" }

func runRun(ctx context.Context, a *app, o *runOptions) error {
	main := !o.override()
	if err := o.check(a); err != nil {
		return err
	}
	r, err := o.request(a)
	if err != nil {
		return err
	}
	e := a.execRequest("", o.argv, o.interactive, o.tty, time.Duration(o.timeout))
	if err := checkCommand(e); err != nil {
		return err
	}
	e.Main = main
	r.Start, r.Lease = true, o.leased()
	r.LeaseMain, r.StartMain = main && !o.dash && !o.detach && o.name == "", main && o.detach
	sigs, stop := a.catchAll()
	defer stop()
	c, err := interruptible(ctx, sigs, func(ctx context.Context) (*client.Client, error) { return a.dial(ctx, true) })
	if err != nil {
		return err
	}
	defer c.Close()
	op, err := c.Create(ctx, r)
	if err != nil {
		return err
	}
	defer op.Close() // which ends the lease
	result, err := a.await(ctx, op, sigs, r.Name)
	if err != nil {
		return a.afterFailure(ctx, c, r, result, err, sigs)
	}
	if o.detach {
		return a.writeNames([]string{result.VM.Name})
	}
	e.VM = result.VM.ID
	code, err := a.attach(ctx, c, e, sigs)
	switch {
	case result.VM.Leased:
		a.removeAfter(ctx, c, *result.VM, sigs)
	case !o.dash:
		a.say(fmt.Sprintf("%s still runs; come back with: banger vm shell %s; remove it with: banger vm delete %s",
			result.VM.Name, result.VM.Name, result.VM.Name))
	}
	return codeError(code, err)
}

// codeError makes a command's exit code ours.
func codeError(code int, err error) error {
	if err == nil && code != 0 {
		return &statusError{code}
	}
	return err
}

// afterFailure deals with what a create or a start that failed has left: a leased VM goes, any other is named.
func (a *app) afterFailure(ctx context.Context, c *client.Client, r client.CreateRequest, result client.Result, err error, sigs signals) error {
	left := result.Left
	if result.VM != nil { // it was ready in the moment of the signal
		left = result.VM
	}
	if left == nil && r.Name != "" {
		if found, ferr := c.Resolve(ctx, []string{r.Name}); ferr == nil && len(found) == 1 && found[0].Err == nil {
			left = &found[0].VM
		}
	}
	switch {
	case left == nil:
		return err
	case r.Lease:
		a.removeAfter(ctx, c, *left, sigs)
		return err
	}
	if !errors.As(err, new(*statusError)) {
		a.say(err.Error())
		err = &statusError{exitBanger}
	}
	a.say(fmt.Sprintf("%s is %s and stays; see: banger vm logs %s; remove it with: banger vm delete %s", left.Name, left.State, left.Name, left.Name))
	return err
}

// removeAfter deletes a VM at the end of its run. Nothing cancels that; whoever does not want to wait for it leaves it to
// the daemon with a second signal. Should the daemon have gone, another one is asked.
func (a *app) removeAfter(ctx context.Context, c *client.Client, v client.VM, sigs signals) {
	done := make(chan error, 1)
	go func() { done <- a.remove(ctx, c, v) }()
	for asked := false; ; {
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, client.ErrNotFound) {
				a.say(fmt.Sprintf("cannot remove %s: %v; the daemon tries again; see: banger vm list", v.Name, err))
			}
			return
		case sig := <-sigs:
			if !asksToEnd(sig) {
				continue
			}
			if asked {
				return
			}
			asked = true
		}
	}
}

func (a *app) remove(ctx context.Context, c *client.Client, v client.VM) error {
	op, err := c.Delete(ctx, v.ID)
	if err == nil {
		defer op.Close()
		_, err = op.Wait(nil)
	}
	if !errors.Is(err, client.ErrUnavailable) {
		return err
	}
	again, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer again.Close()
	op, err = again.Delete(ctx, v.ID)
	if err != nil {
		return err
	}
	defer op.Close()
	_, err = op.Wait(nil)
	return err
}
