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
	spec, warning, err := s.inProject(ctx, id, spec)
	if err != nil {
		return nil, err
	}
	execID, live := string(model.NewOperationID()), s.entry(id).current()
	a, err := g.Exec(ctx, execID, spec, shell)
	if err != nil {
		return nil, live.ended(id, err)
	}
	s.touch(ctx, id)
	return &process{Attachment: a, id: execID, vm: id, live: live, warning: warning()}, nil
}

// ended tells of a VM that ended under its command as such, not as the broken connection err that it is too. A nil live
// has ended already.
func (l *live) ended(id model.VMID, err error) error {
	if !errors.Is(err, model.ErrUnavailable) {
		return err
	}
	if l == nil {
		return model.Errorf(model.ErrUnavailable, "the VM ended while its command ran; see: banger vm show %s", id)
	}
	select {
	case <-l.machine.Done():
		return model.Errorf(model.ErrUnavailable, "the VM ended while its command ran: %s; see: banger vm show %s", l.machine.Exit(), id)
	case <-time.After(lastMoments):
		return err
	}
}

type process struct {
	*guest.Attachment
	id      string
	vm      model.VMID
	warning string
	live    *live // nil when the VM ended meanwhile
}

// Recv is the attachment's, but for a VM that ended.
func (p *process) Recv() (guest.Output, error) {
	out, err := p.Attachment.Recv()
	if err != nil {
		err = p.live.ended(p.vm, err)
	}
	return out, err
}

func (p *process) ID() string      { return p.id }
func (p *process) Warning() string { return p.warning }

// movedLimit is how long a command waits to be told about its project.
const movedLimit = 2 * time.Second

// inProject has a command begin in the VM's workspace, unless it or the VM names a directory. While the command starts,
// the host's project is looked at; warning waits for that.
func (s *Service) inProject(ctx context.Context, id model.VMID, spec model.ExecSpec) (model.ExecSpec, func() string, error) {
	v, err := s.Store.VM(ctx, id)
	if err != nil {
		return spec, nil, err
	}
	if v.Workspace.Guest == "" {
		return spec, func() string { return "" }, nil
	}
	if spec.Workdir == "" && v.Spec.Workdir == "" {
		spec.Workdir = v.Workspace.Guest
	}
	w, err := s.Store.Workspace(ctx, id)
	if err != nil {
		return spec, nil, err
	}
	moved := make(chan string, 1)
	go func() { moved <- s.project(w).Moved(ctx) }() // nobody waits for it longer than movedLimit
	return spec, func() string {
		select {
		case how := <-moved:
			if how != "" {
				return "the project " + w.Host + " has moved on since it was copied in: " + how
			}
		case <-time.After(movedLimit): // its disk is slow, or gone with a network: no reason to keep a command
		}
		return ""
	}, nil
}

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
