package vm

import (
	"context"
	"io"

	"banger/internal/logfile"
	"banger/internal/model"
)

// Logs writes the last tail bytes of the VM's console to w, or all that is kept when tail is not positive. With follow it
// goes on until the VM ends or ctx does.
func (s *Service) Logs(ctx context.Context, id model.VMID, follow bool, tail int64, w io.Writer) error {
	if _, err := s.Store.VM(ctx, id); err != nil {
		return err
	}
	if l := s.entry(id).current(); follow && l != nil {
		return l.console.Follow(ctx, w, tail)
	}
	return logfile.Copy(w, s.consoleFile(id), tail)
}
