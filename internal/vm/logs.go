package vm

import (
	"context"
	"io"
	"os"

	"banger/internal/logfile"
	"banger/internal/model"
)

// Logs writes the last tail bytes of the VM's console to w, or all that is kept when tail is not positive. With follow it
// goes on until the VM ends or ctx does.
func (s *Service) Logs(ctx context.Context, id model.VMID, follow bool, tail int64, w io.Writer) error {
	v, err := s.Store.VM(ctx, id)
	if err != nil {
		return err
	}
	if err := s.hasConsole(ctx, v); err != nil {
		return err
	}
	if l := s.entry(id).current(); follow && l != nil {
		return l.console.Follow(ctx, w, tail)
	}
	return logfile.Copy(w, s.consoleFile(id), tail)
}

// hasConsole is an ErrUnsupported for a VM whose VMM gives it no console. What one said while it had one is shown.
func (s *Service) hasConsole(ctx context.Context, v model.VM) error {
	d, err := s.vmm(v.VMM)
	if err != nil || d.Features(ctx).Console {
		return err
	}
	if info, err := os.Stat(s.consoleFile(v.ID)); err == nil && info.Size() > 0 {
		return nil
	}
	return model.Errorf(model.ErrUnsupported, "cannot show the console of %s: it has none, since %s is set to give its machines none; "+
		"to have one from its next start on, write console = true below [%s] in config.toml, then run: banger daemon restart", v.Name, v.VMM, v.VMM)
}
