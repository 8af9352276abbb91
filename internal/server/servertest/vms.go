package servertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/server"
	"banger/internal/vm"
)

// VMs is a VM service that only keeps rows. Fields may be set before the first request.
type VMs struct {
	// Work, when set, is done within each operation before it has its effect; its error is the operation's.
	Work func(ctx context.Context, kind string, op *operation.Operation) error
	// Program is what every command of a guest is.
	Program Program
	// Main says that images have a main command of their own.
	Main bool
	// Console is what Logs writes; with follow, it waits for the client to leave afterwards.
	Console string

	// Root is the directory that copies read and write; Archive, when set, is what every reading gets instead.
	Root    string
	Archive func(ctx context.Context, w io.Writer) error

	// Workspaces answers what is asked of projects; nil when nothing is.
	server.Workspaces

	// Panic names a method that panics.
	Panic string

	operations *operation.Runner

	mu      sync.Mutex
	rows    []vm.View
	calls   []string
	created []vm.CreateRequest
	execs   []model.ExecSpec
	leases  map[model.VMID]int
	changed chan struct{} // closed and replaced when calls or leases change
}

func newVMs(operations *operation.Runner) *VMs {
	return &VMs{operations: operations, leases: map[model.VMID]int{}, changed: make(chan struct{})}
}

// Add makes a VM beside the API.
func (s *VMs) Add(name string, state model.State) vm.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(model.VM{Name: name, State: state, Spec: model.Spec{
		Image: model.DefaultImage, Kernel: model.DefaultKernel, VCPUs: 2, MemoryBytes: model.GiB, DiskBytes: 8 * model.GiB,
	}})
}

// AddProject makes a running VM with a workspace beside the API.
func (s *VMs) AddProject(name string, paths model.WorkspacePaths) vm.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(model.VM{Name: name, State: model.StateRunning, Workspace: paths})
}

func (s *VMs) add(v model.VM) vm.View {
	v.ID = model.NewVMID()
	v.VMM, v.RootDisk, v.CreatedAt = "fake", "fake", time.Now()
	view := vm.View{VM: v, Dir: "/vms/" + string(v.ID)}
	setHandles(&view)
	s.rows = append(s.rows, view)
	return view
}

func setHandles(v *vm.View) {
	v.Handles = model.Handles{}
	if v.State == model.StateRunning {
		v.Handles = model.Handles{Boot: "boot-" + v.Name, VMM: model.Process{PID: 4242}}
	}
}

// Calls lists what was asked, one "verb name" a call.
func (s *VMs) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.calls...)
}

// Created lists the requests to create.
func (s *VMs) Created() []vm.CreateRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]vm.CreateRequest(nil), s.created...)
}

// Execs lists the commands that were run.
func (s *VMs) Execs() []model.ExecSpec {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]model.ExecSpec(nil), s.execs...)
}

// Await returns once condition holds of the service; it is asked again after every change.
func (s *VMs) Await(ctx context.Context, condition func(calls []string, leases int) bool) error {
	for {
		s.mu.Lock()
		held := 0
		for _, n := range s.leases {
			held += n
		}
		met, changed := condition(s.calls, held), s.changed
		s.mu.Unlock()
		if met {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: calls %q, %d leases", ctx.Err(), s.Calls(), held)
		}
	}
}

func (s *VMs) note(call string) {
	s.calls = append(s.calls, call)
	s.wake()
}

func (s *VMs) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Create adds a row.
func (s *VMs) Create(ctx context.Context, r vm.CreateRequest) (*operation.Operation, error) {
	s.mu.Lock()
	s.created = append(s.created, r)
	for _, v := range s.rows {
		if v.Name == r.Name {
			s.mu.Unlock()
			return nil, model.Errorf(model.ErrExists, "cannot create %s: a VM of that name exists", r.Name)
		}
	}
	s.mu.Unlock()
	return s.operations.Start(ctx, "create", r.Name, r.Key, func(ctx context.Context, op *operation.Operation) error {
		if err := s.work(ctx, "create", op); err != nil {
			return err
		}
		name := r.Name
		if name == "" {
			name = model.RandomName()
		}
		s.mu.Lock()
		v := s.add(model.VM{Name: name, State: model.StateStopped, Spec: r.Spec, Leased: r.Lease || r.LeaseMain && s.Main})
		s.note("create " + name)
		s.mu.Unlock()
		if r.Start {
			if err := s.work(ctx, "start", op); err != nil {
				s.set(v.ID, model.StateFailed)
				op.Result(s.view(v.ID))
				return err
			}
			s.set(v.ID, model.StateRunning)
		}
		op.Result(s.view(v.ID))
		return nil
	})
}

func (s *VMs) work(ctx context.Context, kind string, op *operation.Operation) error {
	if s.Work == nil {
		return nil
	}
	return s.Work(ctx, kind, op)
}

func (s *VMs) view(id model.VMID) vm.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.rows {
		if v.ID == id {
			return v
		}
	}
	return vm.View{}
}

func (s *VMs) set(id model.VMID, state model.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.rows {
		if s.rows[i].ID == id {
			s.rows[i].State = state
			setHandles(&s.rows[i])
		}
	}
}

func (s *VMs) change(ctx context.Context, kind string, id model.VMID, detail string, state model.State) (*operation.Operation, error) {
	v := s.view(id)
	if v.ID == "" {
		return nil, model.Errorf(model.ErrNotFound, "there is no VM %q", id)
	}
	return s.operations.Start(ctx, kind, string(id), "", func(ctx context.Context, op *operation.Operation) error {
		if err := s.work(ctx, kind, op); err != nil {
			return err
		}
		s.set(id, state)
		op.Result(s.view(id))
		s.mu.Lock()
		defer s.mu.Unlock()
		if kind == "delete" {
			for i := range s.rows {
				if s.rows[i].ID == id {
					s.rows = append(s.rows[:i], s.rows[i+1:]...)
					break
				}
			}
		}
		s.note(strings.TrimSpace(kind + " " + v.Name + " " + detail))
		return nil
	})
}

// Start makes a VM running.
func (s *VMs) Start(ctx context.Context, id model.VMID) (*operation.Operation, error) {
	return s.change(ctx, "start", id, "", model.StateRunning)
}

// Stop makes a VM stopped.
func (s *VMs) Stop(ctx context.Context, id model.VMID, grace time.Duration) (*operation.Operation, error) {
	return s.change(ctx, "stop", id, grace.String(), model.StateStopped)
}

// Restart makes a VM running.
func (s *VMs) Restart(ctx context.Context, id model.VMID, grace time.Duration) (*operation.Operation, error) {
	return s.change(ctx, "restart", id, grace.String(), model.StateRunning)
}

// Kill makes a VM stopped.
func (s *VMs) Kill(ctx context.Context, id model.VMID) (*operation.Operation, error) {
	return s.change(ctx, "kill", id, "", model.StateStopped)
}

// Delete removes a row.
func (s *VMs) Delete(ctx context.Context, id model.VMID) (*operation.Operation, error) {
	return s.change(ctx, "delete", id, "", model.StateDeleting)
}

// List lists the rows.
func (s *VMs) List(context.Context) ([]vm.View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]vm.View(nil), s.rows...), nil
}

// Resolve finds VMs by name or id.
func (s *VMs) Resolve(ctx context.Context, refs []string) ([]vm.Resolution, error) {
	if s.Panic == "Resolve" {
		panic("as the test wants it")
	}
	rows, _ := s.List(ctx)
	var found []vm.Resolution
	for _, ref := range refs {
		r := vm.Resolution{Ref: ref, Err: model.Errorf(model.ErrNotFound, "there is no VM %q; see: banger vm list", ref)}
		for i := range rows {
			if rows[i].Name == ref || string(rows[i].ID) == ref {
				r.VM, r.Err = &rows[i], nil
			}
		}
		found = append(found, r)
	}
	return found, nil
}

// HoldLease counts a lease.
func (s *VMs) HoldLease(_ context.Context, id model.VMID) (func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[id]++
	s.wake()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leases[id]--
		s.wake()
	}, nil
}

// Logs writes Console.
func (s *VMs) Logs(ctx context.Context, _ model.VMID, follow bool, _ int64, w io.Writer) error {
	if _, err := io.WriteString(w, s.Console); err != nil {
		return err
	}
	if follow {
		<-ctx.Done()
	}
	return nil
}

// Exec runs Program.
func (s *VMs) Exec(_ context.Context, id model.VMID, spec model.ExecSpec, shell bool) (vm.Process, error) {
	v := s.view(id)
	if v.State != model.StateRunning {
		return nil, model.Errorf(model.ErrState, "cannot run a command in %s: it is %s; start it with: banger vm start %s", v.Name, v.State, v.Name)
	}
	if s.Program == nil {
		return nil, errors.New("the test has no program")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.execs = append(s.execs, spec)
	if shell {
		s.note("shell " + v.Name)
	} else {
		s.note("exec " + v.Name)
	}
	return startProgram(s.Program, spec), nil
}
