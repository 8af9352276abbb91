package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"banger/internal/atomicfile"
	"banger/internal/model"
	"banger/internal/rootdisk"
)

// maxHandlesBytes caps what is read of a handles file: ours are some hundred bytes long.
const maxHandlesBytes = 64 << 10

func (s *Service) handlesFile(id model.VMID) string {
	return filepath.Join(s.Dirs.VM(id), "handles.json")
}

// saveHandles records what a VM has on the host: the file first, then the cache, so that a crash between leaves the
// better informed of the two behind. The file outlives the daemon; a power cut, which no handle outlives, it need not.
func (s *Service) saveHandles(e *entry, h model.Handles) error {
	data, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.WriteHint(s.handlesFile(e.id), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot write the handles: %w", err)
	}
	e.mu.Lock()
	e.handles = h
	e.mu.Unlock()
	return nil
}

// loadHandles reads what was recorded. The file can be missing, torn or a lie: what it says is a hint that drivers check,
// so anything unreadable is no hint.
func (s *Service) loadHandles(id model.VMID) model.Handles {
	file, err := os.OpenFile(s.handlesFile(id), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return model.Handles{}
	}
	defer file.Close()
	var h model.Handles
	data := make([]byte, maxHandlesBytes)
	n, _ := file.Read(data)
	if err := json.Unmarshal(data[:n], &h); err != nil {
		s.Log.Warn("the handles file is not readable; asking the host", "vm", string(id), "error", err)
		return model.Handles{}
	}
	return h
}

// refind asks the host for the devices of a living VM's root disk, since what was recorded of them is a hint only.
func (s *Service) refind(ctx context.Context, v model.VM, hint model.DiskHandles) model.DiskHandles {
	d, err := s.rootDisk(v.RootDisk)
	if err != nil {
		return hint
	}
	finder, ok := d.(rootdisk.Finder)
	if !ok {
		return model.DiskHandles{}
	}
	found, err := finder.Find(ctx, v.ID)
	if err != nil {
		s.Log.Warn("cannot tell the devices of an adopted VM's root disk", "vm", string(v.ID), "error", err)
		return hint
	}
	return found
}

func (s *Service) clearHandles(e *entry) error {
	err := os.Remove(s.handlesFile(e.id))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	e.mu.Lock()
	e.handles = model.Handles{}
	e.mu.Unlock()
	return err
}

func (e *entry) cachedHandles() model.Handles {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.handles
}
