package firecracker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"banger/internal/fcversion"
	"banger/internal/helper/jail"
	"banger/internal/helper/storage"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/procs"
	"banger/internal/vmm"
	"banger/internal/vmm/process"
)

// Jail is what runs VMMs in jails: see package jail. Problem, Start, Kill, Remove and LeaveStock take root's rights, and the
// others none.
type Jail interface {
	// Problem says why there are no jails here, with what would help, or is "".
	Problem() string
	Program() string
	UID(slot int) (int, error)
	Path(id model.VMID) string
	Stock() string
	There(id model.VMID) bool
	Process(id model.VMID) (pid int, err error)
	List(ctx context.Context) ([]jail.VM, error)
	Start(ctx context.Context, id model.VMID, s jail.Spec, lock, log *os.File) (jail.VM, error)
	Kill(ctx context.Context, id model.VMID) error
	Remove(ctx context.Context, id model.VMID) error
	LeaveStock() error
}

// jailNetworks are the kinds of link that a VMM in a jail takes, as the jail has them.
var jailNetworks = map[network.LinkKind]jail.Network{
	network.LinkNone: jail.NetworkNone, network.LinkWire: jail.NetworkWire, network.LinkJailTap: jail.NetworkTap,
}

// jails says whether c's VMM is run in a jail: wherever that can be done. A tap of the host's, and one that the VMM makes in
// namespaces of its owner's, do not go with one; a link that is for a jail goes with nothing else.
func (d *Driver) jails(ctx context.Context, c vmm.Config) (bool, error) {
	if _, goes := jailNetworks[c.Link.Kind]; !goes {
		return false, nil
	}
	problem := d.noJail(ctx)
	if problem == "" && (len(c.Drives) > storage.MaxDrives || c.Slot > jail.MaxSlot) {
		problem = fmt.Sprintf("a jail has %d drives, and there are %d of them", storage.MaxDrives, jail.MaxSlot)
	}
	if problem != "" && c.Link.Kind != network.LinkNone {
		return false, model.Errorf(model.ErrUnsupported, "cannot start the VM: its link is for a VMM in a jail: %s", problem)
	}
	return problem == "", nil
}

// noJail says why no VMM is run in a jail, "" when they are.
func (d *Driver) noJail(ctx context.Context) string {
	if d.options.Jail == nil || d.options.Unjailed {
		return "config.toml says jail = false"
	}
	if problem := d.options.Jail.Problem(); problem != "" {
		return problem
	}
	_, text, err := d.jailedProgram().Version(ctx)
	if err == nil {
		_, err = fcversion.Of(d.options.Jail.Program(), fcversion.Firecracker, text)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// jailedProgram is Firecracker's as jails have it.
func (d *Driver) jailedProgram() process.Program {
	return process.Program{
		Name: program + "-jailed", Path: d.options.Jail.Program(), Cache: d.options.Cache, ReadOnly: d.options.ReadOnly, Log: d.options.Log,
	}
}

// imprison says where the VMM is.
func (m *machine) imprison(j Jail, id model.VMID, cgroup string, uid int) {
	m.sockets = j.Path(id)
	m.jail = model.JailHandles{Dir: m.sockets, Cgroup: cgroup, UID: uid}
}

// watchJailed takes hold of a VMM that somebody else started, and ends: its user is not this process's.
func (m *machine) watchJailed(j Jail, id model.VMID, pid int) error {
	p, err := procs.Of(pid)
	if err != nil {
		return err
	}
	handle, err := procs.Open(p)
	if err != nil {
		return err
	}
	m.AdoptEndedBy(func(ctx context.Context) error { return j.Kill(ctx, id) }, handle, m.heard(), m.why)
	return nil
}

// findJailed takes hold of the VMM that is in the VM's jail, if there is one.
func (d *Driver) findJailed(m *machine, id model.VMID) (bool, error) {
	if d.options.Jail == nil {
		return false, nil
	}
	pid, err := d.options.Jail.Process(id)
	if err != nil || pid == 0 {
		return false, err
	}
	all, err := d.options.Jail.List(m.Life())
	if err != nil {
		return false, err
	}
	at := slices.IndexFunc(all, func(v jail.VM) bool { return v.ID == id })
	if at < 0 {
		return false, nil // it has just ended
	}
	m.imprison(d.options.Jail, id, all[at].Cgroup, all[at].UID)
	m.listen()
	return true, m.watchJailed(d.options.Jail, id, pid)
}

// unjail takes the VM's jail away, if it has one.
func (d *Driver) unjail(ctx context.Context, id model.VMID) error {
	if d.options.Jail == nil || !d.options.Jail.There(id) {
		return nil
	}
	return d.options.Jail.Remove(ctx, id)
}

// Sweep removes the jails of this installation whose VM is not in keep.
func (d *Driver) Sweep(ctx context.Context, keep map[model.VMID]bool) error {
	if d.options.Jail == nil {
		return nil
	}
	all, err := d.options.Jail.List(ctx)
	errs := []error{err}
	for _, v := range all {
		if !keep[v.ID] {
			errs = append(errs, d.options.Jail.Remove(ctx, v.ID))
		}
	}
	return errors.Join(errs...)
}
