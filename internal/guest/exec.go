package guest

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "banger/api/agent/v1"
	"banger/api/agent/v1/agentv1connect"
	"banger/internal/model"
)

// Offsets count the bytes of each output that the host already has.
type Offsets struct{ Stdout, Stderr int64 }

// Output is one piece of what a command says. Bytes belong to the caller.
type Output struct {
	Stdout, Stderr []byte
	// Lost counts bytes that are missing before this piece: a command that nobody was attached to said more than is kept.
	Lost int64
	Exit *model.ExecStatus // set once, when the command ends; output may still follow
}

// Start begins a command under an id of the host's choice, without attaching to it. With shell the user's login shell is
// run and spec.Argv is ignored. An id in use is ErrExists.
func (g *Guest) Start(ctx context.Context, id string, spec model.ExecSpec, shell bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	_, err := g.rpc.Start(ctx, &agentv1.StartRequest{Id: id, Command: command(spec, shell)})
	return fromRPC("cannot start a command in the guest", err)
}

// Attach takes up a started command's output after the bytes that the host has, and its input. A newer attachment of the
// same command ends an older one. A command whose last attachment ended before its output did gets SIGHUP after 10 s. ctx
// bounds the attachment's whole life.
func (g *Guest) Attach(ctx context.Context, id string, at Offsets) (*Attachment, error) {
	return g.attach(ctx, &agentv1.AttachOpen{Id: id, StdoutOffset: at.Stdout, StderrOffset: at.Stderr}, at)
}

// Exec is Start and Attach in one round trip.
func (g *Guest) Exec(ctx context.Context, id string, spec model.ExecSpec, shell bool) (*Attachment, error) {
	return g.attach(ctx, &agentv1.AttachOpen{Id: id, Start: command(spec, shell)}, Offsets{})
}

func (g *Guest) attach(ctx context.Context, open *agentv1.AttachOpen, at Offsets) (*Attachment, error) {
	ctx, cancel := context.WithCancel(ctx)
	const doing = "cannot attach to a command in the guest"
	stream, err := g.rpc.Attach(ctx)
	if err != nil {
		cancel()
		return nil, fromRPC(doing, err)
	}
	a := &Attachment{stream: stream, cancel: cancel, at: at, credited: make(chan struct{}), ended: make(chan struct{})}
	// An error of Send only says that the stream is broken; Receive says why.
	_ = a.send(&agentv1.AttachRequest{Request: &agentv1.AttachRequest_Open{Open: open}})
	late := time.AfterFunc(startTime, cancel)
	first, err := stream.Receive()
	if !late.Stop() {
		a.Close()
		return nil, model.Errorf(model.ErrTimeout, "%s: it does not answer", doing)
	}
	if err != nil {
		a.Close()
		return nil, fromRPC(doing, err)
	}
	a.first = first
	a.grant(first)
	return a, nil
}

// Attachment is one stream to a command. Recv is for one goroutine; the other methods are safe beside it and each other.
type Attachment struct {
	stream agentv1connect.AgentServiceAttachClientStream
	cancel context.CancelFunc
	first  *agentv1.AttachResponse // received while attaching; nil once Recv has used it

	sending sync.Mutex // one message at a time

	mu       sync.Mutex
	at       Offsets
	credit   int
	credited chan struct{} // closed and replaced when credit grows
	ended    chan struct{} // closed when nothing more can be sent
	closed   bool
	last     bool // all was received
}

// Recv returns the next piece of output. It returns io.EOF after the command has ended and all of its output was
// received (or, where an orphan keeps an output open, all that was there shortly after the end).
func (a *Attachment) Recv() (Output, error) {
	for {
		if a.complete() {
			return Output{}, io.EOF
		}
		m, err := a.receive()
		if err != nil {
			a.finish(false)
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return Output{}, fromRPC("cannot follow a command in the guest", err)
		}
		if m.GetEnd() {
			a.finish(true)
		}
		out, err := a.output(m)
		if err != nil || out.Lost > 0 || len(out.Stdout)+len(out.Stderr) > 0 || out.Exit != nil {
			return out, err
		}
	}
}

func (a *Attachment) receive() (*agentv1.AttachResponse, error) {
	if m := a.first; m != nil {
		a.first = nil
		return m, nil
	}
	m, err := a.stream.Receive()
	a.grant(m)
	return m, err
}

// output checks one message and counts what it brings.
func (a *Attachment) output(m *agentv1.AttachResponse) (Output, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := Output{Stdout: m.GetStdout(), Stderr: m.GetStderr()}
	for _, part := range []struct {
		at     *int64
		offset int64
		data   []byte
	}{
		{&a.at.Stdout, m.GetStdoutOffset(), out.Stdout},
		{&a.at.Stderr, m.GetStderrOffset(), out.Stderr},
	} {
		if len(part.data) == 0 {
			continue
		}
		if part.offset < *part.at {
			return Output{}, model.Errorf(model.ErrCorrupt, "cannot follow a command in the guest: its agent counts its output wrongly")
		}
		out.Lost += part.offset - *part.at
		*part.at = part.offset + int64(len(part.data))
	}
	if e := m.GetExit(); e != nil {
		out.Exit = &model.ExecStatus{
			Code: int(e.GetCode() & 0xff), Signal: int(e.GetSignal()), TimedOut: e.GetTimedOut(), Message: plain(e.GetMessage(), maxText),
		}
	}
	return out, nil
}

// Offsets tells how much of each output was received, for an Attach after this one broke.
func (a *Attachment) Offsets() Offsets {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at
}

// Signal sends a Linux signal to the command's first process, as docker does. A command that has ended ignores it.
func (a *Attachment) Signal(number int) error {
	return a.send(&agentv1.AttachRequest{Request: &agentv1.AttachRequest_Signal{Signal: int32(number)}})
}

// Resize sets the size of the command's terminal.
func (a *Attachment) Resize(rows, cols uint16) error {
	size := &agentv1.TerminalSize{Rows: uint32(rows), Cols: uint32(cols)}
	return a.send(&agentv1.AttachRequest{Request: &agentv1.AttachRequest_Resize{Resize: size}})
}

// CloseStdin gives the command end of file after the input sent so far; the rest of the stream goes on.
func (a *Attachment) CloseStdin() error {
	return a.send(&agentv1.AttachRequest{Request: &agentv1.AttachRequest_StdinClose{StdinClose: true}})
}

// Close ends the attachment; twice is fine. A command that still runs is ended by the agent when nobody attaches again.
func (a *Attachment) Close() error {
	a.finish(false)
	a.cancel()
	return a.stream.Close()
}

// finish ends the sending. When all was received it says so to the agent, which then forgets the command.
func (a *Attachment) finish(all bool) {
	a.mu.Lock()
	already := a.closed
	a.last = a.last || all
	if !already {
		a.closed = true
		close(a.ended)
	}
	a.mu.Unlock()
	if already || !all {
		return
	}
	if !a.sending.TryLock() {
		a.cancel() // a message is stuck in the guest: nothing more will come of it
		return
	}
	defer a.sending.Unlock()
	a.stream.CloseSend() // a broken stream tells the agent as much
}

func (a *Attachment) complete() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

func (a *Attachment) send(m *agentv1.AttachRequest) error {
	a.sending.Lock()
	defer a.sending.Unlock()
	if a.isClosed() {
		return io.EOF
	}
	if err := a.stream.Send(m); err != nil {
		if a.isClosed() {
			return io.EOF
		}
		return fromRPC("cannot reach a command in the guest", err)
	}
	return nil
}

func (a *Attachment) isClosed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed
}

func command(spec model.ExecSpec, shell bool) *agentv1.Command {
	c := &agentv1.Command{
		Argv: spec.Argv, Env: spec.Env, Workdir: spec.Workdir, User: spec.User, Tty: spec.TTY, Stdin: spec.Stdin,
		Rows: uint32(spec.Rows), Cols: uint32(spec.Cols), Shell: shell, Main: spec.Main,
	}
	if spec.Timeout > 0 {
		c.Timeout = durationpb.New(spec.Timeout)
	}
	return c
}
