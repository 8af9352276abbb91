package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"banger/client"
	"banger/internal/model"
)

type cpOptions struct {
	from, to cpPlace
	archive  bool
	follow   bool
	maxSize  sizeFlag
}

// cpPlace is one side of a copy: a path of a VM, of this host, or our own standard stream.
type cpPlace struct {
	ref  string // the VM; "" for this host
	path string // "-" without a VM for the stream
}

func (p cpPlace) stream() bool { return p.ref == "" && p.path == "-" }

func newCP(a *app) *cobra.Command {
	var o cpOptions
	cmd := &cobra.Command{
		Use:   "cp [flags] VM:PATH PATH|- | PATH|- VM:PATH | VM:PATH VM:PATH",
		Short: "Copy files out of a running VM, or into it",
		Long: `Copy a file or a directory between this host and a running VM, or between two, by docker cp's rules:

  - A path of a VM begins at its root. A local name with a colon is written ./na:me.
  - What is copied to a directory that exists goes into it; otherwise it takes the name that is given, in a directory that
    exists. A file replaces a file. DIR/. is what the directory holds, without the directory.
  - Links are copied as links; with -L, or written LINK/, the source itself is what its link points to.
  - What comes out belongs to you, what goes in to the VM's user; with -a owners are kept by their numbers, which on this
    host takes root. Modes, times, holes and extended attributes of users are kept; setuid and setgid do not come out.
  - "-" is a tar archive on standard output or input.

A file takes its name once it is complete; a directory that is new, too. Devices, FIFOs and sockets are left out, with a
warning.`,
		Example: `  banger cp box:/var/log/syslog .
  banger cp ./project box:/srv
  banger cp ./project/. box:/srv
  banger cp box:/etc - | tar -t
  tar -c src | banger cp - box:/root`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("name what to copy and where to, such as: banger cp box:/etc/hostname .")
			}
			return nil
		},
		ValidArgsFunction: a.completeCP,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.from, o.to = parsePlace(args[0]), parsePlace(args[1])
			return runCP(cmd.Context(), a, &o)
		},
	}
	cmd.Flags().BoolVarP(&o.archive, "archive", "a", false, "keep owners, by their numbers")
	cmd.Flags().BoolVarP(&o.follow, "follow-link", "L", false, "copy what the source points to, when it is a symbolic link")
	cmd.Flags().Var(&o.maxSize, "max-size", "refuse to take more than this out of a VM (default "+model.FormatSize(model.DefaultMaxCopy)+")")
	return cmd
}

// parsePlace takes an argument apart. Like docker, it takes one that begins with / or . for a local path.
func parsePlace(arg string) cpPlace {
	ref, path, ok := strings.Cut(arg, ":")
	if !ok || model.ValidateName("VM", ref) != nil && !model.VMID(ref).Valid() {
		return cpPlace{path: arg}
	}
	return cpPlace{ref: ref, path: path}
}

func (o *cpOptions) check(a *app) error {
	switch {
	case o.from.ref == "" && o.to.ref == "":
		return usagef("neither side is in a VM: write VM:PATH for the one that is")
	case o.from.path == "" || o.to.path == "":
		return usagef("name a path of the VM, such as %s:/root", cmp.Or(o.from.ref, o.to.ref))
	case o.to.stream() && isTerminal(a.Out):
		return usagef("an archive is nothing for a terminal: send it to a file or a program")
	case o.from.stream() && isTerminal(a.In):
		return usagef("an archive cannot be typed: send one to standard input")
	}
	return nil
}

func runCP(ctx context.Context, a *app, o *cpOptions) error {
	if err := o.check(a); err != nil {
		return err
	}
	// A reader who has left and a limit on the size of files are errors of the write, not our death.
	sigs := make(signals, 32)
	defer a.catch(sigs, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGXFSZ)()
	_, err := interruptible(ctx, sigs, func(ctx context.Context) (client.CopySummary, error) { return a.copy(ctx, o) })
	switch {
	case errors.Is(err, syscall.EPIPE) && o.to.stream():
		return endedBy(syscall.SIGPIPE)
	case errors.Is(err, client.ErrTooLarge):
		return errors.New(err.Error() + "; to take more: --max-size")
	}
	return err
}

func (a *app) copy(ctx context.Context, o *cpOptions) (client.CopySummary, error) {
	c, err := a.dial(ctx, true)
	if err != nil {
		return client.CopySummary{}, err
	}
	defer c.Close()
	from, to, err := o.resolve(ctx, c)
	if err != nil {
		return client.CopySummary{}, err
	}
	p := a.startProgress(cmp.Or(o.from.ref, o.to.ref))
	defer p.stop()
	var w cpWarnings
	defer w.rest(p)
	options := client.CopyOptions{
		Follow: o.follow, Archive: o.archive, MaxBytes: int64(o.maxSize),
		Warn:     func(line string) { w.warn(p, line) },
		Progress: func(s client.CopySummary) { p.event(client.Event{Stage: "copying", Done: s.Bytes}) },
	}
	switch {
	case from.ID != "" && to.ID != "":
		return c.CopyBetween(ctx, from, o.from.path, to, o.to.path, options)
	case o.to.stream():
		return client.CopySummary{}, c.ReadTar(ctx, from, o.from.path, a.Out, options)
	case o.from.stream():
		return c.WriteTar(ctx, to, a.In, o.to.path, options)
	case from.ID != "":
		return c.CopyOut(ctx, from, o.from.path, o.to.path, options)
	}
	return c.CopyIn(ctx, to, o.from.path, o.to.path, options)
}

// maxCPWarnings is how many things that were left out are named.
const maxCPWarnings = 20

// cpWarnings counts what was left out.
type cpWarnings struct {
	mu    sync.Mutex
	count int
}

func (w *cpWarnings) warn(p *progress, line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count++; w.count <= maxCPWarnings {
		p.event(client.Event{Warning: line})
	}
}

func (w *cpWarnings) rest(p *progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if more := w.count - maxCPWarnings; more > 0 {
		p.event(client.Event{Warning: fmt.Sprintf("%d warnings more", more)})
	}
}

// resolve finds the VMs of both sides; the zero VM is this host.
func (o *cpOptions) resolve(ctx context.Context, c *client.Client) (from, to client.VM, err error) {
	if o.from.ref != "" {
		if from, err = resolveOne(ctx, c, o.from.ref); err != nil {
			return from, to, o.explain(err, o.from)
		}
	}
	if o.to.ref != "" {
		if to, err = resolveOne(ctx, c, o.to.ref); err != nil {
			return from, to, o.explain(err, o.to)
		}
	}
	return from, to, nil
}

// explain helps who meant a local file.
func (o *cpOptions) explain(err error, p cpPlace) error {
	local := p.ref + ":" + p.path
	if _, statErr := os.Lstat(local); errors.Is(err, client.ErrNotFound) && statErr == nil {
		return errors.New(err.Error() + "; for the local file write: ./" + local)
	}
	return err
}
