package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
)

// ExecRequest is a command to run in a running VM.
type ExecRequest struct {
	VM      string   // its id
	Argv    []string // reaches the guest untouched
	Shell   bool     // run the user's login shell; Argv is empty
	Main    bool     // give Argv to the image's entrypoint; without Argv, run its own command, or the shell when it has none
	Env     []string // K=V
	Workdir string
	User    string
	TTY     bool
	Stdin   bool // without it the command reads end of file
	Rows    uint16
	Cols    uint16
	Timeout time.Duration // from the command's start; 0 for none
}

// Output is something that a command said: bytes of one of its outputs, or its end, which is apart from the end of output.
type Output struct {
	Stdout []byte
	Stderr []byte
	Exit   *ExitStatus
}

// ExitStatus is how a command ended.
type ExitStatus struct {
	Code     int // 126 not executable, 127 not found, 128+N ended by signal N, 124 timed out
	Signal   int
	TimedOut bool
	Message  string // why it could not be started, or ""
}

// Exec is a command that runs in a guest, with its client attached. Recv is for one goroutine, the other methods for any.
type Exec struct {
	id     string
	client *Client
	ctx    context.Context
	stream bangerv1connect.VMServiceExecClientStream

	send sync.Mutex // a stream takes one message at a time
}

// maxInput is the most input that one message carries.
const maxInput = 64 << 10

// Exec starts a command. It returns once the command has been started or could not be: a command that the guest does not
// have is not an error here but an ExitStatus. Canceling ctx detaches; the guest then ends the command.
func (c *Client) Exec(ctx context.Context, r ExecRequest) (*Exec, error) {
	stream, err := c.vms.Exec(ctx)
	if err != nil {
		return nil, plain(ctx, err)
	}
	e := &Exec{client: c, ctx: ctx, stream: stream}
	err = stream.Send(&bangerv1.ExecRequest{Request: &bangerv1.ExecRequest_Start{Start: startMessage(r)}})
	if err != nil && !errors.Is(err, io.EOF) { // which only says that the stream is broken: Receive says why
		_ = stream.Close()
		return nil, plain(ctx, err)
	}
	first, err := stream.Receive()
	if err != nil {
		_ = stream.Close()
		return nil, plain(ctx, err)
	}
	e.id = first.GetStarted().GetExecId()
	if !r.Stdin {
		_ = e.CloseStdin()
	}
	return e, nil
}

func startMessage(r ExecRequest) *bangerv1.ExecStart {
	m := &bangerv1.ExecStart{
		VmId: r.VM, Argv: r.Argv, Shell: r.Shell, Env: r.Env, Workdir: r.Workdir, User: r.User, Tty: r.TTY, Stdin: r.Stdin, Main: r.Main,
		Size: &bangerv1.TerminalSize{Rows: uint32(r.Rows), Cols: uint32(r.Cols)},
	}
	if r.Timeout != 0 {
		m.Timeout = durationpb.New(r.Timeout)
	}
	return m
}

// Recv returns what the command says next, or io.EOF once it has ended and said everything.
func (e *Exec) Recv() (Output, error) {
	m, err := e.stream.Receive()
	if errors.Is(err, io.EOF) {
		return Output{}, io.EOF
	}
	if err != nil {
		return Output{}, plain(e.ctx, err)
	}
	out := Output{Stdout: m.GetStdout(), Stderr: m.GetStderr()}
	if x := m.GetExit(); x != nil {
		out.Exit = &ExitStatus{
			Code: int(x.GetCode()), Signal: int(x.GetSignal()), TimedOut: x.GetTimedOut(), Message: x.GetMessage(),
		}
	}
	return out, nil
}

// Stdin sends input. It blocks while the command takes none; io.EOF means that it never will.
func (e *Exec) Stdin(p []byte) error {
	e.send.Lock()
	defer e.send.Unlock()
	for len(p) > 0 {
		n := min(len(p), maxInput)
		if err := e.stream.Send(&bangerv1.ExecRequest{Request: &bangerv1.ExecRequest_Stdin{Stdin: p[:n]}}); err != nil {
			return io.EOF
		}
		p = p[n:]
	}
	return nil
}

// CloseStdin tells the command that its input is complete.
func (e *Exec) CloseStdin() error {
	e.send.Lock()
	defer e.send.Unlock()
	return e.stream.CloseSend()
}

// Signal sends a signal, by its Linux number. It does not wait behind input.
func (e *Exec) Signal(number int) error {
	_, err := e.client.vms.SignalExec(e.ctx, &bangerv1.SignalExecRequest{ExecId: e.id, Signal: int32(number)})
	return plain(e.ctx, err)
}

// Resize tells the size of the terminal.
func (e *Exec) Resize(rows, cols uint16) error {
	_, err := e.client.vms.ResizeExec(e.ctx, &bangerv1.ResizeExecRequest{
		ExecId: e.id, Size: &bangerv1.TerminalSize{Rows: uint32(rows), Cols: uint32(cols)},
	})
	return plain(e.ctx, err)
}

// Close detaches. A command that still runs is ended by its guest. Twice is fine.
func (e *Exec) Close() error { return e.stream.Close() }
