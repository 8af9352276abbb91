package vmm

import "banger/internal/model"

// Err is the ErrUnsupported that the Problem makes of doing something, nil without a Problem.
func (f Features) Err(doing string) error {
	switch {
	case f.Problem == "":
		return nil
	case f.Fix == "":
		return model.Errorf(model.ErrUnsupported, "cannot %s: %s; see: banger doctor", doing, f.Problem)
	}
	return model.Fixable(model.ErrUnsupported, f.Fix, "cannot %s: %s", doing, f.Problem)
}

// Warning says why VMs are slow here and the command that mends it, "" when they are not.
func (f Features) Warning() string {
	if f.Slow == "" {
		return ""
	}
	return model.Advise(f.Slow, f.Fix)
}
