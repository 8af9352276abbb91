package vm

import (
	"context"
	"errors"
	"time"

	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/operation"
)

// dialLimit is how long a running guest may take to answer a new connection: its agent is there already.
const dialLimit = 30 * time.Second

// Exec runs a command in a running VM and attaches to it. With shell, argv is empty and the user's login shell runs. The
// process belongs to the agent, not to ctx, which bounds only the attachment.
func (s *Service) Exec(ctx context.Context, id model.VMID, spec model.ExecSpec, shell bool) (Process, error) {
	if spec.Main {
		var err error
		if spec, err = s.mainCommand(ctx, id, spec); err != nil {
			return nil, err
		}
		shell = len(spec.Argv) == 0
	}
	if !shell || len(spec.Argv) > 0 {
		if err := spec.Validate(); err != nil {
			return nil, err
		}
	}
	g, err := s.guest(ctx, id)
	if err != nil {
		return nil, err
	}
	execID := string(model.NewOperationID())
	a, err := g.Exec(ctx, execID, spec, shell)
	if err != nil {
		return nil, err
	}
	s.touch(ctx, id)
	return &process{Attachment: a, id: execID, vm: id, live: s.entry(id).current()}, nil
}

type process struct {
	*guest.Attachment
	id   string
	vm   model.VMID
	live *live // nil when the VM ended meanwhile
}

// Recv tells of a VM that ended under its command as such, not as the broken connection that it is too.
func (p *process) Recv() (guest.Output, error) {
	out, err := p.Attachment.Recv()
	if err == nil || p.live == nil || !errors.Is(err, model.ErrUnavailable) {
		return out, err
	}
	select {
	case <-p.live.machine.Done():
		return out, model.Errorf(model.ErrUnavailable, "the VM ended while its command ran: %s; see: banger vm show %s", p.live.machine.Exit(), p.vm)
	case <-time.After(lastMoments):
		return out, err
	}
}

func (p *process) ID() string { return p.id }

// guest returns the connection to a running VM's agent.
func (s *Service) guest(ctx context.Context, id model.VMID) (*guest.Guest, error) {
	v, err := s.Store.VM(ctx, id)
	if err != nil {
		return nil, err
	}
	if v.State != model.StateRunning {
		return nil, stateError("run a command in", v)
	}
	l := s.entry(id).current()
	if l == nil {
		// What is known of it was lost or could not be taken over: ask the host again.
		if err := s.reconcile(ctx, v); err != nil {
			return nil, err
		}
		if l = s.entry(id).current(); l == nil {
			return nil, model.Errorf(model.ErrUnavailable, "cannot reach %s: its VMM has ended; see: banger vm show %s", v.Name, v.Name)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialLimit, model.Errorf(model.ErrUnavailable,
		"cannot reach %s: its guest has not answered for %s; see: banger vm logs %s, or end it with: banger vm kill %s", v.Name, dialLimit, v.Name, v.Name))
	defer cancel()
	g, err := l.connect(ctx)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	return g, nil
}

// touch records that the VM was used; that it could not be recorded is not worth a failed command.
func (s *Service) touch(ctx context.Context, id model.VMID) {
	s.wg.Go(func() {
		if err := s.Store.Touch(context.WithoutCancel(ctx), id); err != nil && !errors.Is(err, model.ErrNotFound) {
			operation.Logger(ctx).Warn("cannot record the VM's use", "vm", string(id), "error", err)
		}
	})
}
