package agent

import (
	"context"
	"errors"
	"io"

	agentv1 "banger/api/agent/v1"
	"banger/api/agent/v1/agentv1connect"
	"banger/internal/model"
)

// maxPiece is the most of each output in one message.
const maxPiece = 64 << 10

// attachment is one host's stream to a command.
type attachment struct {
	replaced chan struct{} // closed when a newer one took over
	exitSent bool
}

// Start serves the start of a command that nobody is attached to yet.
func (a *Agent) Start(_ context.Context, req *agentv1.StartRequest) (*agentv1.StartResponse, error) {
	if _, err := a.start(req.GetId(), req.GetCommand(), false); err != nil {
		return nil, verdict(err)
	}
	return &agentv1.StartResponse{}, nil
}

func (a *Agent) start(id string, req *agentv1.Command, awaited bool) (*command, error) {
	spec, err := a.commandOf(req)
	if err != nil {
		return nil, err
	}
	c := newCommand(id, a.table)
	c.awaited = awaited
	if err := a.table.reserve(c); err != nil {
		return nil, err
	}
	if err := c.run(a.sys, spec, req.GetTimeout().AsDuration()); err != nil {
		a.table.forget(c)
		return nil, err
	}
	return c, nil
}

// commandOf fills in what the configuration says of every command.
func (a *Agent) commandOf(req *agentv1.Command) (Command, error) {
	config := a.current()
	if config.Generation == 0 {
		return Command{}, model.Errorf(model.ErrState, "the guest is not configured yet")
	}
	c := Command{
		Argv: req.GetArgv(), Workdir: req.GetWorkdir(), User: req.GetUser(), Shell: req.GetShell(), TTY: req.GetTty(),
		Stdin: req.GetStdin(), Rows: uint16(req.GetRows()), Cols: uint16(req.GetCols()), Main: req.GetMain(),
	}
	if len(c.Argv) == 0 && !c.Shell {
		return Command{}, model.Errorf(model.ErrInvalid, "no command was given")
	}
	c.Env = append(append([]string(nil), config.Env...), req.GetEnv()...)
	if c.Workdir == "" {
		c.Workdir = config.Workdir
	}
	if c.User == "" {
		c.User = config.User
	}
	return c, nil
}

// Attach serves one stream to a command.
func (a *Agent) Attach(ctx context.Context, stream agentv1connect.AgentServiceAttachServerStream) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	open := first.GetOpen()
	if open == nil {
		return verdict(model.Errorf(model.ErrInvalid, "an attachment begins with open"))
	}
	var c *command
	if open.GetStart() != nil {
		c, err = a.start(open.GetId(), open.GetStart(), true)
	} else {
		c, err = a.table.get(open.GetId())
	}
	if err != nil {
		return verdict(err)
	}
	at := c.attach(open)
	a.table.resume(c)
	heard := make(chan error, 1)
	go func() { heard <- c.listen(stream) }()
	err = c.tell(ctx, stream, at, heard)
	c.detach(at, err == nil)
	if err != nil {
		return verdict(err)
	}
	return nil
}

// attach makes the newest attachment the only one.
func (c *command) attach(open *agentv1.AttachOpen) *attachment {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attached != nil {
		close(c.attached.replaced)
	}
	at := &attachment{replaced: make(chan struct{})}
	c.attached, c.awaited = at, true
	if c.patience != nil {
		c.patience.Stop()
	}
	c.stdout.sent = min(max(open.GetStdoutOffset(), 0), c.stdout.ring.end)
	c.stderr.sent = min(max(open.GetStderrOffset(), 0), c.stderr.ring.end)
	c.stdin.owed = inputWindow - c.stdin.held
	return at
}

// detach ends an attachment. A command whose end was heard of is forgotten; one that goes on is given time for another.
func (c *command) detach(at *attachment, collected bool) {
	c.mu.Lock()
	if c.attached != at {
		c.mu.Unlock()
		return
	}
	c.attached = nil
	switch {
	case collected:
	case c.exit == nil:
		c.wait(hangupAfter, c.abandon)
	default:
		c.wait(hangupAfter, func() { c.table.forget(c) })
	}
	ended := c.exit != nil
	c.mu.Unlock()
	switch {
	case collected:
		c.table.forget(c)
	case ended:
		c.table.end(c)
	}
}

// tell sends what there is to say until all is said, and then waits for the host to have heard it.
func (c *command) tell(ctx context.Context, stream agentv1connect.AgentServiceAttachServerStream, at *attachment, heard chan error) error {
	quiet := heard
	for first := true; ; first = false {
		m, changed := c.news(at, first)
		if m == nil {
			select {
			case <-changed:
			case <-at.replaced:
				return model.Errorf(model.ErrCanceled, "another attachment took over")
			case <-ctx.Done():
				return ctx.Err()
			case err := <-quiet:
				if err != nil {
					return err
				}
				quiet = nil // the host has nothing more to send, but listens
			}
			continue
		}
		if err := stream.Send(m); err != nil {
			return err
		}
		if !m.GetEnd() {
			continue
		}
		if quiet == nil {
			return nil
		}
		select {
		case err := <-heard:
			return err
		case <-at.replaced:
			return model.Errorf(model.ErrCanceled, "another attachment took over")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// news is the next message for an attachment, or nil and what to wait for.
func (c *command) news(at *attachment, first bool) (*agentv1.AttachResponse, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attached != at {
		return nil, nil // replaced tells
	}
	m := &agentv1.AttachResponse{}
	m.Stdout, m.StdoutOffset = c.stdout.next()
	m.Stderr, m.StderrOffset = c.stderr.next()
	if c.exit != nil && !at.exitSent {
		at.exitSent = true
		m.Exit = &agentv1.ExitStatus{
			Code: int32(c.exit.Code), Signal: int32(c.exit.Signal), TimedOut: c.exit.TimedOut, Message: c.exit.Message,
		}
	}
	m.End = c.exit != nil && c.stdout.done() && c.stderr.done()
	if in := &c.stdin; in.open && (first || in.owed >= inputWindow/4) {
		m.StdinCredit = uint32(in.owed)
		in.owed = 0
	}
	if len(m.Stdout)+len(m.Stderr) > 0 {
		c.notify() // room for more
	}
	if first || m.End || m.Exit != nil || m.StdinCredit > 0 || len(m.Stdout)+len(m.Stderr) > 0 {
		return m, nil
	}
	return nil, c.changed
}

func (o *output) next() (data []byte, at int64) {
	data, at = o.ring.read(o.sent, maxPiece)
	o.sent = at + int64(len(data))
	return data, at
}

func (o *output) done() bool { return o.ended && o.sent == o.ring.end }

// listen takes what the host says until it has said all (nil) or the stream breaks.
func (c *command) listen(stream agentv1connect.AgentServiceAttachServerStream) error {
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch r := m.GetRequest().(type) {
		case *agentv1.AttachRequest_Stdin:
			err = c.push(r.Stdin)
		case *agentv1.AttachRequest_StdinClose:
			c.closeInput()
		case *agentv1.AttachRequest_Signal:
			err = c.signal(int(r.Signal))
		case *agentv1.AttachRequest_Resize:
			c.resize(uint16(r.Resize.GetRows()), uint16(r.Resize.GetCols()))
		default:
			err = model.Errorf(model.ErrInvalid, "a request that this agent does not know")
		}
		if err != nil {
			return err
		}
	}
}

func (c *command) signal(number int) error {
	if number < 1 || number > 64 {
		return model.Errorf(model.ErrInvalid, "%d is not a signal", number)
	}
	if proc := c.process(); proc != nil {
		_ = proc.Signal(number) // one that has ended ignores it
	}
	return nil
}

func (c *command) resize(rows, cols uint16) {
	if proc := c.process(); proc != nil {
		_ = proc.Resize(rows, cols) // likewise
	}
}

func (c *command) process() Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proc
}
