package vm

import (
	"context"
	"errors"
	"os"
	"time"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/rootdisk"
	"banger/internal/store"
	"banger/internal/workdisk"
	"banger/internal/workspace"
)

// Create makes a VM and, when asked to, starts it. What is wrong with the request is an error before anything is made; a
// creation that fails or is canceled leaves nothing; a start that fails leaves the VM failed, with the reason. The result
// is the View.
func (s *Service) Create(ctx context.Context, r CreateRequest) (*operation.Operation, error) {
	var err error
	if r.Spec, err = s.withDefaults(ctx, r.Spec); err != nil {
		return nil, err
	}
	if err := r.Spec.Validate(); err != nil {
		return nil, err
	}
	if err := s.portsAreFree(r.Spec.Ports, chooseAnother); err != nil {
		return nil, err
	}
	if err := s.namesAreRight(ctx, r); err != nil {
		return nil, err
	}
	project, err := s.planFor(ctx, r)
	if err != nil {
		return nil, err
	}
	return s.Operations.Start(ctx, "create", r.Name, r.Key, func(ctx context.Context, op *operation.Operation) error {
		return s.carryOut(ctx, r, project, op)
	})
}

// namesAreRight checks what a request names: the VM itself, and drivers.
func (s *Service) namesAreRight(ctx context.Context, r CreateRequest) error {
	if r.Name != "" {
		if err := model.ValidateName("VM", r.Name); err != nil {
			return err
		}
		if err := s.nameIsFree(ctx, r.Name); err != nil {
			return err
		}
	}
	if r.VMM != "" {
		if _, err := s.vmm(r.VMM); err != nil {
			return err
		}
	}
	if r.RootDisk != "" {
		if _, err := s.rootDisk(r.RootDisk); err != nil {
			return err
		}
	}
	if r.Network != "" {
		if _, err := s.network(r.Network); err != nil {
			return err
		}
	}
	return nil
}

// carryOut is the operation of a create.
func (s *Service) carryOut(ctx context.Context, r CreateRequest, project *plannedProject, op *operation.Operation) error {
	v, err := s.create(ctx, r, op)
	if err != nil {
		return err
	}
	if v.Leased {
		// Not before the start has ended: only then does its client have a VM to hold, and a boot may take longer than
		// a lease.
		defer s.expire(v.ID)
	}
	if err := s.bringUp(ctx, v, r, project, op); err != nil {
		// Whoever asked learns which VM is left, failed and with its reason; none is when it was deleted meanwhile.
		_ = s.publish(context.WithoutCancel(ctx), v.ID, op)
		return err
	}
	return s.publish(ctx, v.ID, op)
}

// bringUp starts a new VM and gives it its project and its image's command, as far as the request asks for that.
func (s *Service) bringUp(ctx context.Context, v model.VM, r CreateRequest, project *plannedProject, op *operation.Operation) error {
	if !r.Start {
		return nil
	}
	if err := s.start(ctx, v.ID, op); err != nil {
		return err
	}
	if project != nil {
		if err := s.copyProject(ctx, v.ID, project.plan, project.guest, *r.Workspace, op); err != nil {
			return err
		}
	}
	if r.StartMain {
		return s.startMain(ctx, v)
	}
	return nil
}

// plannedProject is a project that a new VM is going to get.
type plannedProject struct {
	plan  *workspace.Plan
	guest string
}

// planFor looks at the project of a request, before anything is made for it.
func (s *Service) planFor(ctx context.Context, r CreateRequest) (*plannedProject, error) {
	if r.Workspace == nil {
		return nil, nil
	}
	if !r.Start {
		return nil, model.Errorf(model.ErrInvalid, "cannot copy a project into a VM that is not started: start it, then run: banger vm workspace prepare")
	}
	plan, guest, err := s.PlanWorkspace(ctx, *r.Workspace)
	if err != nil {
		return nil, err
	}
	return &plannedProject{plan, guest}, nil
}

func (s *Service) withDefaults(ctx context.Context, spec model.Spec) (model.Spec, error) {
	d := s.Defaults
	if spec.Image == "" {
		spec.Image = d.Image
	}
	if spec.Image == "" {
		var err error
		if spec.Image, err = s.Images.DefaultImage(ctx); err != nil {
			return spec, err
		}
	}
	if spec.Kernel == "" {
		spec.Kernel = d.Kernel
	}
	if spec.VCPUs == 0 {
		spec.VCPUs = d.VCPUs
	}
	if spec.MemoryBytes == 0 {
		spec.MemoryBytes = d.MemoryBytes
	}
	if spec.DiskBytes == 0 {
		spec.DiskBytes = d.DiskBytes
	}
	if spec.Network == "" {
		spec.Network = d.Network
	}
	if policy, err := model.ParsePolicy(spec.Network); err == nil {
		spec.Network = policy.String() // one way to write it; what is wrong with it is told by Validate
	}
	return spec, nil
}

// nameIsFree tells early what the database would refuse after an image was built.
func (s *Service) nameIsFree(ctx context.Context, name string) error {
	vms, err := s.Store.VMs(ctx)
	if err != nil {
		return err
	}
	for _, v := range vms {
		if v.Name == name {
			return nameTaken(name)
		}
	}
	return nil
}

func nameTaken(name string) error {
	return model.Errorf(model.ErrExists, "cannot create %s: a VM of that name exists; choose another name, or remove it with: banger vm delete %s", name, name)
}

// create makes the row, the directory and the disks. The VM is stopped afterwards.
func (s *Service) create(ctx context.Context, r CreateRequest, op *operation.Operation) (model.VM, error) {
	chosen, err := s.choose(ctx, r)
	if err != nil {
		return model.VM{}, err
	}
	r.Image.Ref = r.Spec.Image
	image, err := s.Images.Obtain(ctx, r.Image, op.Report)
	if err != nil {
		return model.VM{}, err
	}
	if err := s.Images.Verify(ctx, image.Digest); err != nil {
		return model.VM{}, err
	}
	kernel, err := s.Images.EnsureKernel(ctx, r.Spec.Kernel, op.Report)
	if err != nil {
		return model.VM{}, err
	}
	op.Report(model.Progress{Stage: "create the VM"})
	v := model.VM{
		ID: model.NewVMID(), Name: r.Name, Spec: r.Spec, Image: image.Digest, Kernel: kernel.Digest,
		VMM: chosen.vmm.Name(), RootDisk: chosen.disk.Name(), Network: chosen.network.Name(),
		State: model.StateCreating, CreatedAt: time.Now(),
	}
	v.Leased = r.Lease || r.LeaseMain && len(image.Main(nil)) > 0
	e := s.entry(v.ID)
	if err := e.acquire(ctx); err != nil {
		return v, err
	}
	defer e.unlock()
	crash.At("create.row.before")
	if v, err = s.insert(ctx, v); err != nil {
		s.forget(v.ID)
		return v, err
	}
	crash.At("create.row.after")
	base := rootdisk.Base{Path: s.Images.ImageFile(image.Digest), Digest: image.Digest, Bytes: image.SizeBytes}
	if err := s.makeDisks(ctx, v, base); err != nil {
		return v, s.undoCreate(ctx, e, v, err)
	}
	stopped, err := s.setState(ctx, e, model.StateStopped, store.Transition{})
	if err != nil {
		return v, s.undoCreate(ctx, e, v, err)
	}
	crash.At("create.outcome.after")
	return stopped, nil
}

// insert adds the row; an unnamed VM gets another random name as long as it collides.
func (s *Service) insert(ctx context.Context, v model.VM) (model.VM, error) {
	if v.Name != "" {
		return s.Store.CreateVM(ctx, v)
	}
	for range 20 {
		v.Name = model.RandomName()
		made, err := s.Store.CreateVM(ctx, v)
		if !errors.Is(err, model.ErrExists) {
			return made, err
		}
	}
	return v, model.Errorf(model.ErrExists, "cannot find a free random name; give one with --name")
}

func (s *Service) makeDisks(ctx context.Context, v model.VM, base rootdisk.Base) error {
	if err := os.MkdirAll(s.Dirs.VM(v.ID), 0o700); err != nil {
		return err
	}
	crash.At("create.dir.after")
	d, err := s.rootDisk(v.RootDisk)
	if err != nil {
		return err
	}
	if err := d.Create(ctx, v.ID, base); err != nil {
		return err
	}
	crash.At("create.disk.after")
	if err := workdisk.Create(ctx, s.workDisk(v.ID), v.Spec.DiskBytes); err != nil {
		return err
	}
	crash.At("create.work.after")
	return nil
}

// undoCreate takes back a creation that failed: no row and no file stays. The caller holds the lock.
func (s *Service) undoCreate(ctx context.Context, e *entry, v model.VM, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Limits.Teardown)
	defer cancel()
	if _, err := s.setState(ctx, e, model.StateDeleting, store.Transition{}); err != nil {
		return errors.Join(cause, err)
	}
	return errors.Join(cause, s.remove(ctx, e, v))
}
