package server

import (
	"context"
	"errors"
	"io"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/model"
	"banger/internal/vm"
)

// Exec runs a command for as long as its client is there. Input flows in a goroutine of its own, since the guest may take
// none of it while output and the exit still come.
func (s *vmService) Exec(ctx context.Context, stream bangerv1connect.VMServiceExecServerStream) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil {
		return model.Errorf(model.ErrInvalid, "cannot run a command: the first request of an exec must start one")
	}
	p, err := s.vms.Exec(ctx, model.VMID(start.GetVmId()), execSpec(start), start.GetShell())
	if err != nil {
		return err
	}
	defer p.Close()
	defer context.AfterFunc(ctx, func() { _ = p.Close() })() // a client that left ends the wait for output
	defer s.enroll(p)()
	if err := stream.Send(started(p.ID(), p.Warning())); err != nil {
		return err
	}
	// It ends with the client's side of the stream, at the latest when this handler's return closes that.
	go feed(stream, p, start.GetStdin())
	return drain(stream, p)
}

// enroll makes p known to SignalExec and ResizeExec until the returned function is called.
func (s *vmService) enroll(p vm.Process) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.execs[p.ID()] = p
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.execs, p.ID())
	}
}

// feed passes the command its input, when it is open to any: telling one without of the end would only make the guest
// work beside it. Once the command takes no more, the rest is read and dropped, as a pipe whose reader has gone would be, so
// that a client in the middle of sending gets to hear of the exit.
func feed(stream bangerv1connect.VMServiceExecServerStream, p vm.Process, open bool) {
	closeInput := func() {
		if open {
			open = false
			_ = p.CloseStdin()
		}
	}
	for {
		r, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			closeInput()
		}
		if err != nil {
			return // a client that broke off has not said that its input is complete
		}
		switch {
		case r.GetStdinClose():
			closeInput()
		case len(r.GetStdin()) > 0 && open:
			open = p.Stdin(r.GetStdin()) == nil
		}
	}
}

// drain passes the client the output and the exit.
func drain(stream bangerv1connect.VMServiceExecServerStream, p vm.Process) error {
	for {
		out, err := p.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(out.Stdout) > 0 {
			err = stream.Send(&bangerv1.ExecResponse{Response: &bangerv1.ExecResponse_Stdout{Stdout: out.Stdout}})
		}
		if err == nil && len(out.Stderr) > 0 {
			err = stream.Send(&bangerv1.ExecResponse{Response: &bangerv1.ExecResponse_Stderr{Stderr: out.Stderr}})
		}
		if err == nil && out.Exit != nil {
			err = stream.Send(exited(*out.Exit))
		}
		if err != nil {
			return err
		}
	}
}

func started(id, warning string) *bangerv1.ExecResponse {
	return &bangerv1.ExecResponse{Response: &bangerv1.ExecResponse_Started{Started: &bangerv1.ExecStarted{ExecId: id, Warning: warning}}}
}

func exited(status model.ExecStatus) *bangerv1.ExecResponse {
	return &bangerv1.ExecResponse{Response: &bangerv1.ExecResponse_Exit{Exit: &bangerv1.ExecExit{
		Code: int32(status.Code), Signal: int32(status.Signal), TimedOut: status.TimedOut, Message: status.Message,
	}}}
}

func (s *vmService) SignalExec(_ context.Context, r *bangerv1.SignalExecRequest) (*bangerv1.SignalExecResponse, error) {
	p, err := s.exec(r.GetExecId())
	if err != nil {
		return nil, err
	}
	return &bangerv1.SignalExecResponse{}, p.Signal(int(r.GetSignal()))
}

func (s *vmService) ResizeExec(_ context.Context, r *bangerv1.ResizeExecRequest) (*bangerv1.ResizeExecResponse, error) {
	p, err := s.exec(r.GetExecId())
	if err != nil {
		return nil, err
	}
	return &bangerv1.ResizeExecResponse{}, p.Resize(uint16(r.GetSize().GetRows()), uint16(r.GetSize().GetCols()))
}

func (s *vmService) exec(id string) (vm.Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.execs[id]; ok {
		return p, nil
	}
	return nil, model.Errorf(model.ErrNotFound, "no command %s is running", id)
}
