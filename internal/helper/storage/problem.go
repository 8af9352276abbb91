package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Problem says why this host has no snapshots for this process, with what would help; "" when it has.
func (h *Host) Problem() string {
	if _, err := os.Stat(loopControl); err != nil {
		return "this host has no loop devices; try: modprobe loop"
	}
	dm, err := openControl()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "this host has no device-mapper; try: modprobe dm-mod"
	case errors.Is(err, fs.ErrPermission):
		return "only root can make snapshots"
	case err != nil:
		return fmt.Sprintf("the device-mapper cannot be used: %v", err)
	}
	defer dm.close()
	switch err := dm.hasTarget(); {
	case errors.Is(err, fs.ErrPermission):
		return "only root can make snapshots"
	case err != nil:
		return fmt.Sprintf("the device-mapper has no snapshots (%v); try: modprobe dm-snapshot", err)
	}
	if h.o.Udev != nil { // it would do something about it
		return ""
	}
	if err := h.udevKnows(); err != nil {
		return err.Error()
	}
	return ""
}
