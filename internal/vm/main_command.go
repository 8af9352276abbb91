package vm

import (
	"context"

	"banger/internal/model"
)

// mainCommand turns the arguments of spec into the command that the VM's image runs with them. It is empty, and no main
// command, where the image has none and nothing was asked for.
func (s *Service) mainCommand(ctx context.Context, id model.VMID, spec model.ExecSpec) (model.ExecSpec, error) {
	v, err := s.Store.VM(ctx, id)
	if err != nil {
		return spec, err
	}
	image, err := s.Images.Image(ctx, string(v.Image))
	if err != nil {
		return spec, err
	}
	spec.Argv = image.Main(spec.Argv)
	spec.Main = len(spec.Argv) > 0
	return spec, nil
}

// startMain starts the main command of a VM's image, if there is one, with nobody attached to it.
func (s *Service) startMain(ctx context.Context, v model.VM) error {
	spec, err := s.mainCommand(ctx, v.ID, model.ExecSpec{Main: true})
	if err != nil || !spec.Main {
		return err
	}
	g, err := s.guest(ctx, v.ID)
	if err != nil {
		return err
	}
	if err := g.Start(ctx, string(model.NewOperationID()), spec, false); err != nil {
		return model.Errorf(model.ErrUnavailable, "cannot start the main command of %s: %w; see: banger vm logs %s", v.Name, err, v.Name)
	}
	s.touch(ctx, v.ID)
	return nil
}
