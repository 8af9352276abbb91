package cli

import (
	"context"
	"fmt"

	"banger/client"
)

// outcome is what came of one of several references. The zero line prints nothing.
type outcome struct {
	line string // for standard output
	err  error
}

// each does work for every VM that refs name: all references are resolved in one snapshot, the work goes on side by side,
// and is reported in the order of refs. One failure stops none of the others; it makes the exit code 1.
func (a *app) each(ctx context.Context, c *client.Client, refs []string, work func(ctx context.Context, v client.VM) (string, error)) error {
	found, err := c.Resolve(ctx, refs)
	if err != nil {
		return err
	}
	outcomes := make([]chan outcome, len(found))
	seen := map[string]bool{}
	for i, r := range found {
		outcomes[i] = make(chan outcome, 1)
		switch {
		case r.Err != nil:
			outcomes[i] <- outcome{err: r.Err}
		case seen[r.VM.ID]: // named twice: done and reported once
			outcomes[i] <- outcome{}
		default:
			seen[r.VM.ID] = true
			go func() {
				line, err := work(ctx, r.VM)
				outcomes[i] <- outcome{line, err}
			}()
		}
	}
	return a.reportEach(outcomes)
}

func (a *app) reportEach(outcomes []chan outcome) error {
	failed := false
	for _, c := range outcomes {
		o := <-c
		if o.err != nil {
			failed = true
			a.say(o.err.Error())
			continue
		}
		if o.line == "" {
			continue
		}
		if _, err := fmt.Fprintln(a.Out, safeLine(o.line)); err != nil {
			return fmt.Errorf("cannot write the output: %w", err)
		}
	}
	if failed {
		return &statusError{exitError}
	}
	return nil
}

// operate is each for an operation per VM; the VM's name is reported.
func (a *app) operate(ctx context.Context, refs []string, begin func(ctx context.Context, c *client.Client, id string) (*client.Operation, error)) error {
	sigs, stop := a.catchAll()
	defer stop()
	c, err := interruptible(ctx, sigs, func(ctx context.Context) (*client.Client, error) { return a.dial(ctx, true) })
	if err != nil {
		return err
	}
	defer c.Close()
	p := a.startProgress("")
	defer p.stop()
	done := make(chan error, 1)
	go func() { done <- a.operateEach(ctx, c, refs, p, begin) }()
	for {
		select {
		case err := <-done:
			return err
		case sig := <-sigs:
			if asksToEnd(sig) {
				p.stop()
				a.say("what was begun goes on; see: banger vm list")
				return endedBy(sig)
			}
		}
	}
}

func (a *app) operateEach(ctx context.Context, c *client.Client, refs []string, p *progress, begin func(ctx context.Context, c *client.Client, id string) (*client.Operation, error)) error {
	return a.each(ctx, c, refs, func(ctx context.Context, v client.VM) (string, error) {
		op, err := begin(ctx, c, v.ID)
		if err != nil {
			return "", err
		}
		defer op.Close()
		_, err = op.Wait(func(e client.Event) {
			if e.Stage != "" && len(refs) > 1 {
				e.Stage = v.Name + ": " + e.Stage
			}
			p.event(e)
		})
		return v.Name, err
	})
}
