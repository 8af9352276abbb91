package vm

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"time"

	"banger/internal/crash"
	"banger/internal/guest"
	"banger/internal/logfile"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/operation"
	"banger/internal/procs"
	"banger/internal/rootdisk"
	"banger/internal/store"
	"banger/internal/vmm"
	"banger/internal/workdisk"
)

// maxConsoleBytes caps what is kept of a guest's console.
const maxConsoleBytes = 16 * model.MiB

// Start boots a VM that is at rest; one that runs is left alone, which is success. Its result is the running View.
func (s *Service) Start(ctx context.Context, id model.VMID) (*operation.Operation, error) {
	return s.Operations.Start(ctx, "start", string(id), "", func(ctx context.Context, op *operation.Operation) error {
		if err := s.start(ctx, id, op); err != nil {
			return err
		}
		return s.publish(ctx, id, op)
	})
}

// start takes a VM from stopped or failed to running, or leaves it failed with the reason and nothing on the host.
func (s *Service) start(ctx context.Context, id model.VMID, op *operation.Operation) error {
	e := s.entry(id)
	b, err := s.launch(ctx, e, op)
	if err != nil || b.vm.State == model.StateRunning {
		return err
	}
	op.Report(model.Progress{Stage: "wait for the guest"})
	return s.ready(ctx, e, b, op)
}

// launch does the part of a start that changes the host, under the VM's lock: afterwards the VMM runs and its state is
// still starting. A VM that runs is returned as it is.
func (s *Service) launch(ctx context.Context, e *entry, op *operation.Operation) (boot, error) {
	if err := e.acquire(ctx); err != nil {
		return boot{}, err
	}
	defer e.unlock()
	v, err := s.Store.VM(ctx, e.id)
	if err != nil {
		return boot{}, err
	}
	switch v.State {
	case model.StateStopped, model.StateFailed:
	case model.StateRunning:
		return boot{vm: v}, nil
	default:
		return boot{}, stateError("start", v)
	}
	op.Report(model.Progress{Stage: "start the VM"})
	b, err := s.prepareBoot(ctx, v)
	if err != nil {
		return b, err
	}
	if warning := b.features.Warning(); warning != "" {
		op.Warn(warning)
	}
	crash.At("start.intent.before")
	if b.vm, err = s.setState(ctx, e, model.StateStarting, store.Transition{LastError: new(string)}); err != nil {
		return b, err
	}
	crash.At("start.intent.after")
	b.vm, err = s.bootNext(ctx, e, b)
	return b, err
}

// boot is what a start needs to know before it changes anything.
type boot struct {
	vm       model.VM
	driver   vmm.Driver
	features vmm.Features
	disk     rootdisk.Driver
	network  network.Driver
	base     rootdisk.Base
	vmlinux  string
	modules  string
	initrd   string
}

// prepareBoot finds everything that a start needs; what is missing fails it before anything is changed.
func (s *Service) prepareBoot(ctx context.Context, v model.VM) (boot, error) {
	b := boot{vm: v}
	var err error
	if b.driver, err = s.vmm(v.VMM); err != nil {
		return b, err
	}
	if b.disk, err = s.rootDisk(v.RootDisk); err != nil {
		return b, err
	}
	if b.network, err = s.network(v.Network); err != nil {
		return b, err
	}
	if err := s.portsAreFree(v.Spec.Ports, republish(v)); err != nil {
		return b, err
	}
	b.features = b.driver.Features(ctx)
	if err := b.features.Err("start " + v.Name); err != nil {
		return b, err
	}
	if err := misfit(ctx, b.disk, b.features); err != nil {
		return b, model.Errorf(model.ErrUnsupported, "cannot start %s: %w", v.Name, err)
	}
	image, err := s.Images.Image(ctx, string(v.Image))
	if err != nil {
		return b, err
	}
	if err := s.Images.Verify(ctx, image.Digest); err != nil {
		return b, err
	}
	kernel, err := s.Images.Kernel(ctx, string(v.Kernel))
	if err != nil {
		return b, err
	}
	if err := s.Images.Verify(ctx, kernel.Digest); err != nil {
		return b, err
	}
	b.base = rootdisk.Base{Path: s.Images.ImageFile(image.Digest), Digest: image.Digest, Bytes: image.SizeBytes}
	b.vmlinux, b.modules = s.Images.KernelFiles(kernel.Digest)
	b.initrd, err = s.Images.Initrd(ctx, kernel)
	return b, err
}

// boot makes the link, the devices and the VMM, writing down each as it is acquired. The caller runs u when it fails.
func (s *Service) boot(ctx context.Context, e *entry, b boot, u *undo) error {
	id, dir := b.vm.ID, s.Dirs.VM(b.vm.ID)
	lock, err := procs.TryLock(filepath.Join(dir, "vmm.lock"))
	if err != nil {
		return err
	}
	// The VMM holds the lock from its exec on; ours must not outlast this call.
	defer lock.Close()
	var h model.Handles

	crash.At("start.network.before")
	link, err := s.setLink(ctx, e, b.network, b.vm, published(b.vm.Spec))
	if err != nil {
		return err
	}
	u.add(func(ctx context.Context) error {
		e.clearLink()
		return b.network.Clear(ctx, id, link.Handles)
	})
	h.Net = link.Handles
	crash.At("start.network.after")

	disk, err := b.disk.Activate(ctx, id, b.base)
	if err != nil {
		return err
	}
	u.add(func(ctx context.Context) error { return b.disk.Deactivate(ctx, id, disk.Handles) })
	h.Disk = disk.Handles
	crash.At("start.disk.after")

	u.add(func(context.Context) error { return s.clearHandles(e) })
	if err := s.saveHandles(e, h); err != nil {
		return err
	}
	crash.At("start.handles.after")

	tap, err := openTap(ctx, b.network, id, link)
	if err != nil {
		return err
	}
	if tap != nil {
		defer tap.Close() // the VMM has it from its exec on
	}
	machine, err := b.driver.Start(ctx, vmm.Config{
		ID: id, Slot: b.vm.Slot, Dir: dir, VCPUs: b.vm.Spec.VCPUs, MemoryBytes: b.vm.Spec.MemoryBytes,
		Kernel: b.vmlinux, Initrd: b.initrd, Drives: s.drives(b, disk), Link: link, Tap: tap, Lock: lock,
	})
	if err != nil {
		return err
	}
	u.add(func(ctx context.Context) error {
		err := machine.Kill(ctx)
		e.release()
		return errors.Join(err, b.driver.Remove(ctx, id, dir, h))
	})
	h.VMM, h.Jail = machine.Process(), vmm.JailOf(machine)
	crash.At("start.vmm.after")
	if err := s.adopt(e, machine); err != nil {
		return err
	}
	if err := s.saveHandles(e, h); err != nil {
		return err
	}
	crash.At("start.vmm.recorded")
	return b.network.Up(ctx, id, h.VMM)
}

func (s *Service) drives(b boot, disk rootdisk.Disk) []model.Drive {
	return append(append([]model.Drive{}, disk.Drives...),
		model.Drive{Path: b.modules, Format: "raw", ReadOnly: true, Serial: model.SerialModules},
		model.Drive{Path: s.workDisk(b.vm.ID), Format: "raw", Serial: model.SerialWork},
	)
}

func (s *Service) workDisk(id model.VMID) string { return filepath.Join(s.Dirs.VM(id), workdisk.File) }

func (s *Service) consoleFile(id model.VMID) string {
	return filepath.Join(s.Dirs.VM(id), "console.log")
}

// adopt makes machine the VM's live one: its console is drained and its death noticed.
func (s *Service) adopt(e *entry, machine vmm.Machine) error {
	console, err := logfile.Open(s.consoleFile(e.id), maxConsoleBytes)
	if err != nil {
		return err
	}
	l := &live{machine: machine, console: console, dialing: make(chan struct{}, 1)}
	e.setLive(l)
	s.wg.Go(func() { s.drainConsole(l) })
	s.wg.Go(func() { s.watch(e, l) })
	return nil
}

func (s *Service) drainConsole(l *live) {
	defer l.console.Close()
	c, ok := l.machine.(vmm.Consoler)
	if !ok {
		return
	}
	stream, err := c.Console()
	if err != nil {
		s.Log.Warn("cannot read the console", "error", err)
		return
	}
	defer stream.Close()
	stop := context.AfterFunc(s.ctx, func() { stream.Close() })
	defer stop()
	buffer := make([]byte, 16<<10)
	for {
		n, err := stream.Read(buffer)
		if n > 0 {
			// A full disk loses console text; a reader that stops would stall the guest.
			_, _ = l.console.Write(buffer[:n])
		}
		if err != nil {
			return
		}
	}
}

// finishStart waits until the guest can run commands and publishes that it does. It holds no lock while it waits: a stop
// or delete meanwhile ends the VMM, and with it the wait. A mistimedError of accept leaves the guest to the caller.
func (s *Service) finishStart(ctx context.Context, e *entry, v model.VM, accept func(timerRate float64) error) error {
	boot, err := s.configure(ctx, e, v, accept)
	if lockErr := e.acquire(context.WithoutCancel(ctx)); lockErr != nil {
		return lockErr
	}
	defer e.unlock()
	if gone := s.stillStarts(ctx, e, v); gone != nil {
		return gone
	}
	if errors.As(err, new(mistimedError)) {
		return err
	}
	if err != nil {
		return s.failStart(ctx, e, err, nil)
	}
	h := e.cachedHandles()
	h.Boot = boot
	if err := s.saveHandles(e, h); err != nil {
		return s.failStart(ctx, e, err, nil)
	}
	now := time.Now()
	crash.At("start.ready.before")
	if _, err := s.setState(ctx, e, model.StateRunning, store.Transition{StartedAt: &now}); err != nil {
		return s.failStart(ctx, e, err, nil)
	}
	crash.At("start.ready.after")
	s.followPorts(e, v)
	return nil
}

// configure waits for the agent, tells it who it is and returns the guest's boot id once commands can run. A guest that
// accept refuses is told nothing.
func (s *Service) configure(ctx context.Context, e *entry, v model.VM, accept func(timerRate float64) error) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.Limits.Boot, model.Errorf(model.ErrTimeout,
		"cannot start %s: the guest was not ready after %s; see: banger vm logs %s", v.Name, s.Limits.Boot, v.Name))
	defer cancel()
	l := e.current()
	if l == nil {
		return "", model.Errorf(model.ErrState, "%s was stopped while it started", v.Name)
	}
	g, err := l.connect(ctx)
	if err != nil {
		return "", bootError(v, l.why(causeOf(ctx, err)))
	}
	if err := accept(g.Hello().TimerRate); err != nil {
		return "", bootError(v, err)
	}
	config, err := s.guestConfig(ctx, v, e.currentLink())
	if err != nil {
		return "", err
	}
	if err := g.Configure(ctx, config); err != nil {
		return "", bootError(v, l.why(causeOf(ctx, err)))
	}
	return g.Hello().BootID, nil
}

// lastMoments is how long after a connection broke a VMM's death may follow that broke it.
const lastMoments = time.Second

// why prefers the end of a VMM to the error that the end of its connections is.
func (l *live) why(err error) error {
	if errors.Is(err, model.ErrTimeout) || errors.Is(err, model.ErrCanceled) {
		return err
	}
	if l.hasEnded() {
		return model.Errorf(model.ErrUnavailable, "%s", l.machine.Exit())
	}
	return err
}

// hasEnded says whether the VMM has ended, of which a broken connection may be the first sign.
func (l *live) hasEnded() bool {
	select {
	case <-l.machine.Done():
		return true
	case <-time.After(lastMoments):
		return false
	}
}

func bootError(v model.VM, err error) error {
	if errors.Is(err, model.ErrTimeout) || errors.Is(err, model.ErrCanceled) {
		return err
	}
	return model.Errorf(model.ErrUnavailable, "cannot start %s: %w; see: banger vm logs %s", v.Name, err, v.Name)
}

func (s *Service) guestConfig(ctx context.Context, v model.VM, link network.Link) (guest.Config, error) {
	image, err := s.Images.Image(ctx, string(v.Image))
	if err != nil {
		return guest.Config{}, err
	}
	disk, err := s.rootDisk(v.RootDisk)
	if err != nil {
		return guest.Config{}, err
	}
	join := disk.Features(ctx).Join
	entropy := make([]byte, 64)
	rand.Read(entropy)
	c := guest.Config{
		Generation: v.Generation, Hostname: v.Name, MachineID: machineID(v.ID),
		Join: join, Root: join.Serials(), Work: model.SerialWork, Modules: model.SerialModules,
		Init: image.Init, InitPath: image.InitPath,
		Env: append(append([]string{}, image.Env...), v.Spec.Env...), User: image.User, Workdir: image.Workdir,
		Link: link, Time: time.Now(), Entropy: entropy,
	}
	if v.Spec.CA {
		if c.CA, err = hostAuthorities(os.DirFS("/")); err != nil {
			return c, err
		}
	}
	if image.StopSignal != "" {
		// It was checked when the image was made; without one the command gets TERM, as all others do.
		c.StopSignal, _ = model.ParseSignal(image.StopSignal)
	}
	if v.Spec.User != "" {
		c.User = v.Spec.User
	}
	if v.Spec.Workdir != "" {
		c.Workdir = v.Spec.Workdir
	}
	return c, nil
}

// machineID is the guest's /etc/machine-id (machine-id(5): 128 bits in hex), the same at each of the VM's starts.
func machineID(id model.VMID) string {
	sum := sha256.Sum256([]byte("banger machine-id " + id))
	return hex.EncodeToString(sum[:16])
}

// failStart takes back what a start did, all that the VM has on the host where u is nil, and leaves the VM failed with the
// reason. It returns err, joined with what could not be taken back. The caller holds the lock.
func (s *Service) failStart(ctx context.Context, e *entry, err error, u *undo) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Limits.Teardown)
	defer cancel()
	if u != nil {
		err = errors.Join(err, u.run(ctx))
	} else {
		v, rowErr := s.Store.VM(ctx, e.id)
		err = errors.Join(err, rowErr, s.end(ctx, e, v))
	}
	crash.At("start.undone")
	reason := err.Error()
	if _, stateErr := s.setState(ctx, e, model.StateFailed, store.Transition{LastError: &reason}); stateErr != nil {
		operation.Logger(ctx).Error("cannot record that the start failed", "error", stateErr)
	}
	return err
}

// stateError says that verb is not possible now, and what is.
func stateError(verb string, v model.VM) error {
	next := map[model.State]string{
		model.StateRunning:  "it is running",
		model.StateStopped:  "it is stopped; start it with: banger vm start " + v.Name,
		model.StateFailed:   "its last start failed; try again with: banger vm start " + v.Name,
		model.StateDeleting: "it is being deleted",
		model.StateCreating: "it is being created",
		model.StateStarting: "it is starting",
		model.StateStopping: "it is stopping",
	}[v.State]
	if next == "" {
		next = "it is " + v.State.String()
	}
	return model.Errorf(model.ErrState, "cannot %s %s: %s", verb, v.Name, next)
}

// setState moves the VM along the transition table and wakes whoever waits for that.
func (s *Service) setState(ctx context.Context, e *entry, to model.State, t store.Transition) (model.VM, error) {
	t.To = to
	v, err := s.Store.SetState(ctx, e.id, t)
	if err == nil {
		operation.Logger(ctx).Info("state", "vm", string(e.id), "name", v.Name, "state", to.String())
		e.notify()
	}
	return v, err
}

// publish sends the VM as it is now as the operation's result.
func (s *Service) publish(ctx context.Context, id model.VMID, op *operation.Operation) error {
	view, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	op.Result(view)
	return nil
}
