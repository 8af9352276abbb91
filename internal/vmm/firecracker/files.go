package firecracker

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/crash"
)

// makeFIFO makes a FIFO and opens both its ends. The VMM's is open for reading too, so that writing to it never fails for
// want of a reader; neither end ever waits for the other.
func makeFIFO(path string, mode os.FileMode) (vmm, ours *os.File, err error) {
	crash.At("firecracker.fifo.before")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, nil, fmt.Errorf("cannot make %s: %w", path, err)
	}
	crash.At("firecracker.fifo.made")
	if mode != 0o600 {
		if err := os.Chmod(path, mode); err != nil { // whatever the umask took
			return nil, nil, err
		}
	}
	if vmm, err = os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0); err != nil {
		return nil, nil, err
	}
	if ours, err = openFIFO(path); err != nil {
		vmm.Close()
		return nil, nil, err
	}
	return vmm, ours, nil
}

// openFIFO opens the reading end. Its end comes when no other process has it open for writing any more.
func openFIFO(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Type() != os.ModeNamedPipe {
		err = fmt.Errorf("%s is not a FIFO", filepath.Base(path))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
