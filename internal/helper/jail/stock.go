package jail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/crash"
	"banger/internal/model"
)

// Stock is a directory of the owner's alone, for what VMMs in jails are given to read: it is on the file system of those that
// they share with the owner, who can hard link a file from here to there. A VMM cannot enter it. Each start makes it where
// it is missing, and the owner does without it otherwise.
func (h *Host) Stock() string { return filepath.Join(h.stocks(), strings.TrimSuffix(h.prefix(), "-")) }

// stocks is the directory of all of them. It is beside that of all jails, so that what is there is a jail.
func (h *Host) stocks() string { return filepath.Join(filepath.Dir(h.o.Dir), "stock") }

// makeStock makes it, if it is not there. The directories that lead to it are root's, so that nobody else can put anything
// in its place, at any moment.
func (h *Host) makeStock() error {
	if err := errors.Join(makeOpen(filepath.Dir(h.stocks())), makeOpen(h.stocks())); err != nil {
		return err
	}
	if err := os.Mkdir(h.Stock(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	crash.At("jail.start.stock")
	return os.Lchown(h.Stock(), h.o.UID, h.o.GID) // also of one that is there: its maker may have been killed at the point above
}

// LeaveStock removes the directory if nothing is in it, and no jail is left that something could be put into it for.
func (h *Host) LeaveStock() error {
	jails := 0
	if err := h.each(h.o.Dir, func(model.VMID, fs.FileInfo) { jails++ }); err != nil || jails > 0 {
		return err
	}
	if err := removeEmpty(h.Stock()); err != nil {
		return err
	}
	return h.leaveStocks()
}

// removeStock takes the directory away with all that is in it.
func (h *Host) removeStock() error {
	if err := takeAway(h.Stock()); err != nil {
		return err
	}
	return h.leaveStocks()
}

// leaveStocks removes the directory of all if it was the last.
func (h *Host) leaveStocks() error {
	if err := removeEmpty(h.stocks()); err != nil || h.o.UID != 0 {
		return err
	}
	return removeEmpty(filepath.Dir(h.stocks())) // root made it, too, where no helper is installed
}

// takeAway removes an owner's directory in one of root's, with all that is in it. It is taken from the owner first, who
// could go on to fill it.
func takeAway(path string) error {
	if err := os.Lchown(path, 0, 0); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("cannot take %s back: %w", path, err)
	}
	return errors.Join(os.Chmod(path, 0o700), os.RemoveAll(path))
}
