package vm

import (
	"context"
	"errors"
	"io"
	"time"

	"banger/internal/guest"
	"banger/internal/model"
)

// StatFile says what a path of a running VM's guest is.
func (s *Service) StatFile(ctx context.Context, id model.VMID, path string, follow bool) (info model.FileInfo, err error) {
	err = s.withFiles(ctx, id, func(g *guest.Guest) error {
		info, err = g.StatFile(ctx, path, follow)
		return err
	})
	return info, err
}

// ListFiles names what lies in a directory of a running VM's guest and begins with prefix; of a large one only a part. It
// does not count as a use of the VM.
func (s *Service) ListFiles(ctx context.Context, id model.VMID, dir, prefix string) (names []model.FileName, err error) {
	err = s.lookIntoFiles(ctx, id, func(g *guest.Guest) error {
		names, err = g.ListFiles(ctx, dir, prefix)
		return err
	})
	return names, err
}

// ReadFiles writes a tar archive of a path of a running VM's guest to w. Only package rootedfs may unpack it.
func (s *Service) ReadFiles(ctx context.Context, id model.VMID, r model.FileRead, w io.Writer) error {
	return s.withFiles(ctx, id, func(g *guest.Guest) error { return g.ReadFiles(ctx, r, w) })
}

// WriteFiles unpacks a tar archive in a running VM's guest and returns once all is durable there.
func (s *Service) WriteFiles(ctx context.Context, id model.VMID, w model.FileWrite, archive io.Reader) (sum model.FileSummary, err error) {
	err = s.withFiles(ctx, id, func(g *guest.Guest) error {
		sum, err = g.WriteFiles(ctx, w, archive)
		return err
	})
	return sum, err
}

// withFiles is lookIntoFiles for what uses the VM.
func (s *Service) withFiles(ctx context.Context, id model.VMID, do func(*guest.Guest) error) error {
	err := s.lookIntoFiles(ctx, id, do)
	if err == nil {
		s.touch(ctx, id)
	}
	return err
}

// lookIntoFiles does something with a running VM's guest, and says of a guest that went away meanwhile which VM it was.
func (s *Service) lookIntoFiles(ctx context.Context, id model.VMID, do func(*guest.Guest) error) error {
	v, err := s.Store.VM(ctx, id)
	if err != nil {
		return err
	}
	if v.State != model.StateRunning {
		return stateError("copy files of", v)
	}
	g, err := s.guest(ctx, id)
	if err != nil {
		return err
	}
	l := s.entry(id).current()
	err = do(g)
	if err == nil || ctx.Err() != nil {
		return err
	}
	// Who ends the VM closes its connection, too: what breaks then says that it was canceled, which nobody here did, and
	// may be seen before the connection's end is.
	if kind := model.KindOf(err); kind != nil && !errors.Is(err, model.ErrUnavailable) && !errors.Is(err, model.ErrCanceled) {
		return err // the guest's own word
	}
	select {
	case <-g.Done():
	case <-time.After(lastMoments):
		return err
	}
	if l == nil || l.hasEnded() {
		return model.Errorf(model.ErrUnavailable, "the VM ended while files were copied; no file is left half written; to see what became of the VM: banger vm show %s", v.Name)
	}
	if errors.Is(err, model.ErrUnavailable) {
		return model.Errorf(model.ErrUnavailable, "%w; no file is left half written; to see what became of the VM: banger vm show %s", err, v.Name)
	}
	return err
}
