package vm

import (
	"context"
	"errors"
	"slices"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/network"
)

// NetworkChange is what is to be different in what a VM may reach.
type NetworkChange struct {
	Policy         string   // as ParsePolicy reads it; "" for the one that the VM has
	OpenHostPorts  []uint16 // of the host's loopback; those that are open stay so
	CloseHostPorts []uint16
}

// SetNetwork changes what a VM may reach, at once when it runs. When it fails, all of it is as before. A VM that was made
// without a network has no interface to give one to while it runs.
func (s *Service) SetNetwork(ctx context.Context, id model.VMID, c NetworkChange) error {
	if c.Policy == "" && len(c.OpenHostPorts)+len(c.CloseHostPorts) == 0 {
		return model.Errorf(model.ErrInvalid, "cannot change a network: nothing is named that is to be different")
	}
	return s.change(ctx, id, func(v *model.VM, ports []model.Port) ([]model.Port, error) { return ports, c.apply(v) })
}

// apply edits the row of a VM.
func (c NetworkChange) apply(v *model.VM) error {
	if c.Policy != "" {
		policy, err := model.ParsePolicy(c.Policy)
		if err != nil {
			return err
		}
		v.Spec.Network = policy.String()
	}
	open := slices.Clone(v.Spec.HostPorts)
	for _, port := range c.CloseHostPorts {
		i := slices.Index(open, port)
		if i < 0 {
			return model.Errorf(model.ErrNotFound, "cannot close port %d of the host to %s: it is not open; see: banger vm show %s", port, v.Name, v.Name)
		}
		open = slices.Delete(open, i, i+1)
	}
	for _, port := range c.OpenHostPorts {
		if !slices.Contains(open, port) {
			open = append(open, port)
		}
	}
	if len(c.OpenHostPorts) > 0 && v.Spec.Network == model.PolicyNone {
		return model.Errorf(model.ErrInvalid, "cannot open port %d of the host to %s: its network is none, which reaches nothing; name another one beside it, such as --network %s",
			c.OpenHostPorts[0], v.Name, model.DefaultPolicy)
	}
	v.Spec.HostPorts = open
	return nil
}

// change applies a change of a VM's network: the row first, which is the intent, then the link. One that fails leaves
// both as they were. edit gets the row to change and the ports in force, and returns those that shall be.
func (s *Service) change(ctx context.Context, id model.VMID, edit func(v *model.VM, ports []model.Port) ([]model.Port, error)) error {
	e := s.entry(id)
	if err := e.acquire(ctx); err != nil {
		return err
	}
	defer e.unlock()
	v, err := s.Store.VM(ctx, id)
	if err != nil {
		return err
	}
	rests := v.State == model.StateStopped || v.State == model.StateFailed
	if !rests && v.State != model.StateRunning && v.State != model.StatePaused {
		return stateError("change the network of", v)
	}
	ports := e.currentPorts()
	if rests {
		ports = published(v.Spec)
	}
	changed := v
	changed.Spec.Ports = slices.Clone(v.Spec.Ports)
	if ports, err = edit(&changed, ports); err != nil {
		return err
	}
	if err := changed.Spec.Validate(); err != nil {
		return err
	}
	if rests {
		driver, err := s.vmm(v.VMM)
		if err != nil {
			return err
		}
		n, err := s.pickNetwork("", v.Network, changed.Spec, v.VMM, driver.Features(ctx).Links)
		if err != nil {
			return err
		}
		changed.Network = n.Name()
		return s.Store.UpdateSpec(ctx, id, changed.Spec, changed.Network)
	}
	d, err := s.network(v.Network)
	if err != nil {
		return err
	}
	if !d.Carries(wants(changed.Spec)) {
		return model.Errorf(model.ErrState, "cannot give %s a network while it runs: it was started without an interface; run: banger vm stop %s; "+
			"then this command again; then: banger vm start %s", v.Name, v.Name, v.Name)
	}
	crash.At("set.intent.before")
	if err := s.Store.UpdateSpec(ctx, id, changed.Spec, v.Network); err != nil {
		return err
	}
	crash.At("set.intent.after")
	// From here on it is finished or taken back, whoever asked being there or not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Limits.Teardown)
	defer cancel()
	if err := s.applyLink(ctx, e, d, changed, ports); err != nil {
		return errors.Join(err, s.Store.UpdateSpec(ctx, id, v.Spec, v.Network))
	}
	crash.At("set.after")
	return nil
}

// applyLink sets the link of a VM that runs and writes down what came of it. The caller holds the lock.
func (s *Service) applyLink(ctx context.Context, e *entry, d network.Driver, v model.VM, ports []model.Port) error {
	link, ports, err := s.tellLink(ctx, e, d, v, ports)
	if err != nil {
		return err
	}
	h := e.cachedHandles()
	h.Net = link.Handles
	if err := s.saveHandles(e, h); err != nil {
		// They are a hint; what they would have told is true all the same.
		s.Log.Warn("cannot write the handles", "vm", string(v.ID), "error", err)
	}
	e.setLink(link, ports) // after the file: who sees a port sees one that the next daemon knows
	e.notify()
	return nil
}

// Denied lists what the policy of a running VM refused lately, newest first.
func (s *Service) Denied(ctx context.Context, id model.VMID) ([]model.Denial, error) {
	x, err := s.explainer(ctx, id)
	if err != nil {
		return nil, err
	}
	return x.Denied(ctx, id)
}

// Check asks the policy of a running VM about one destination, host:port.
func (s *Service) Check(ctx context.Context, id model.VMID, destination string, udp bool) (model.Verdict, error) {
	x, err := s.explainer(ctx, id)
	if err != nil {
		return model.Verdict{}, err
	}
	return x.Check(ctx, id, destination, udp)
}

func (s *Service) explainer(ctx context.Context, id model.VMID) (network.Explainer, error) {
	v, err := s.Store.VM(ctx, id)
	if err != nil {
		return nil, err
	}
	if v.State != model.StateRunning && v.State != model.StatePaused {
		return nil, stateError("ask the network of", v)
	}
	d, err := s.network(v.Network)
	if err != nil {
		return nil, err
	}
	x, ok := d.(network.Explainer)
	if !ok {
		return nil, model.Errorf(model.ErrUnsupported, "cannot explain the network of %s: its driver %s does not tell", v.Name, d.Name())
	}
	return x, nil
}
