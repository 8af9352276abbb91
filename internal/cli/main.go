package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// Exit codes. A command run in a guest passes its own through; those of run, exec and shell follow docker's contract.
const (
	exitError  = 1   // something failed
	exitUsage  = 2   // the command line makes no sense
	exitBanger = 125 // likewise for the commands that pass a guest's exit code through, so that the two stay apart
)

// statusError ends the process with a code and no message: whatever there was to say has been said. It is the only error
// whose code reaches the shell; one of a program that we ran never does by accident.
type statusError struct{ code int }

func (e *statusError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// usageError is a mistake in the command line, found before anything was done.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Main runs the command line and returns the process's exit code.
func Main() int {
	a := newApp(Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	return a.run(context.Background(), os.Args[1:])
}

func (a *app) run(ctx context.Context, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return a.report(cmd, err)
}

// passesCode marks the commands whose exit code is a guest program's.
const passesCode = "passes-code"

// report prints an error and picks the exit code.
func (a *app) report(cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	var status *statusError
	if errors.As(err, &status) {
		return status.code
	}
	a.say(err.Error())
	code := exitError
	if errors.As(err, new(usageError)) {
		code = exitUsage
		fmt.Fprintf(a.Err, "See '%s --help'.\n", cmd.CommandPath())
	}
	if cmd.Annotations[passesCode] != "" {
		code = exitBanger
	}
	return code
}
