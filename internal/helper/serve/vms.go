package serve

import (
	"context"

	"banger/internal/model"
	"banger/internal/turns"
)

// VMs has calls for one VM of an installation done one after the other. The zero value is ready.
type VMs struct{ turns turns.Of[vmOf] }

type vmOf struct {
	instance model.InstanceID
	id       model.VMID
}

// Take checks a VM's id and waits for its turn, which done gives back.
func (v *VMs) Take(ctx context.Context, c Caller, vm string) (id model.VMID, done func(), err error) {
	if id, err = VM(vm); err != nil {
		return "", nil, err
	}
	done, err = v.turns.Take(ctx, vmOf{c.Instance, id})
	return id, done, err
}

// VM checks a VM's id.
func VM(vm string) (model.VMID, error) {
	id := model.VMID(vm)
	if !id.Valid() {
		return "", model.Errorf(model.ErrInvalid, "cannot do this for the VM %.64q: that is no id", vm)
	}
	return id, nil
}
