package jail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"banger/internal/model"
)

// makeDir makes the directory that the VMM, by its group, shares with the owner. What is made in it is open to all who can
// enter.
func (h *Host) makeDir(id model.VMID, uid int) error {
	path := h.Path(id)
	for {
		if err := errors.Join(makeOpen(filepath.Dir(h.o.Dir)), makeOpen(h.o.Dir)); err != nil {
			return err
		}
		// The last jail that ends takes the directory of all along.
		if err := os.Mkdir(path, 0o700); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// While it is root's nobody can enter.
	if err := errors.Join(os.Chmod(path, 0o770), os.Lchown(path, h.o.UID, uid)); err != nil {
		return fmt.Errorf("cannot give %s away: %w", path, err)
	}
	return h.alone(id, uid)
}

// makeOpen makes a directory that everybody can look into, whatever the umask takes, if it is not there.
func makeOpen(path string) error {
	err := os.Mkdir(path, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Chmod(path, 0o755)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone already; whoever wants it makes it anew
	}
	return err
}
