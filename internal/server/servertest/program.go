package servertest

import (
	"io"
	"sync"

	"banger/internal/guest"
	"banger/internal/model"
)

// Program is a command of the fake guest.
type Program func(g *Guest) model.ExecStatus

// Guest is what a Program has: streams, signals and sizes. Its writes block until the client has taken them.
type Guest struct {
	Spec    model.ExecSpec
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Signals chan int
	Sizes   chan [2]uint16
	Gone    chan struct{} // closed when the client has left
}

// Exit is the Program that ends at once.
func Exit(code int) Program {
	return func(*Guest) model.ExecStatus { return model.ExecStatus{Code: code} }
}

type process struct {
	id     string
	guest  *Guest
	input  *io.PipeWriter
	reader *io.PipeReader
	output chan guest.Output
	close  func()
}

// Warning is the test's.
func (p *process) Warning() string { return "" }

func startProgram(run Program, spec model.ExecSpec) *process {
	r, w := io.Pipe()
	p := &process{id: string(model.NewOperationID()), input: w, reader: r, output: make(chan guest.Output)}
	gone := make(chan struct{})
	p.close = sync.OnceFunc(func() {
		close(gone)
		_ = r.CloseWithError(io.ErrClosedPipe)
	})
	p.guest = &Guest{
		Spec: spec, Stdin: r, Signals: make(chan int, 16), Sizes: make(chan [2]uint16, 16), Gone: gone,
		Stdout: writer(func(b []byte) error { return p.say(guest.Output{Stdout: b}) }),
		Stderr: writer(func(b []byte) error { return p.say(guest.Output{Stderr: b}) }),
	}
	if !spec.Stdin {
		_ = w.Close()
	}
	go func() {
		defer close(p.output)
		status := run(p.guest)
		_ = p.say(guest.Output{Exit: &status})
	}()
	return p
}

type writer func([]byte) error

func (w writer) Write(b []byte) (int, error) {
	if err := w(append([]byte(nil), b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (p *process) say(o guest.Output) error {
	select {
	case p.output <- o:
		return nil
	case <-p.guest.Gone:
		return io.ErrClosedPipe
	}
}

func (p *process) ID() string { return p.id }

func (p *process) Recv() (guest.Output, error) {
	select {
	case o, ok := <-p.output:
		if !ok {
			return guest.Output{}, io.EOF
		}
		return o, nil
	case <-p.guest.Gone:
		return guest.Output{}, io.ErrClosedPipe
	}
}

func (p *process) Stdin(b []byte) error {
	_, err := p.input.Write(b)
	return err
}

func (p *process) CloseStdin() error { return p.input.Close() }

func (p *process) Signal(number int) error {
	p.guest.Signals <- number
	return nil
}

func (p *process) Resize(rows, cols uint16) error {
	p.guest.Sizes <- [2]uint16{rows, cols}
	return nil
}

func (p *process) Close() error {
	p.close()
	return nil
}
