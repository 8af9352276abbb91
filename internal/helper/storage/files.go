package storage

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"banger/internal/helper/owned"
	"banger/internal/model"
)

const sectorBytes = 512 // the device-mapper's, whatever the devices' own are

// checkFiles says whether the descriptors are of what may become a snapshot, and how many sectors that would have. A
// caller may be an ordinary user: only files that are the owner's, opened as they will be used, are taken, so that nobody
// gets at more through the devices than through the descriptors.
func (h *Host) checkFiles(base, cow *os.File) (sectors uint64, err error) {
	below, err := h.checkFile(base, unix.O_RDONLY)
	if err != nil {
		return 0, model.HostErrorf(err, "cannot use the base")
	}
	above, err := h.checkFile(cow, unix.O_RDWR)
	if err != nil {
		return 0, model.HostErrorf(err, "cannot use the file with the changes")
	}
	switch {
	case below.Dev == above.Dev && below.Ino == above.Ino:
		return 0, model.Errorf(model.ErrInvalid, "cannot use one file both as the base and for the changes")
	case below.Size <= 0 || below.Size%sectorBytes != 0 || below.Size > model.MaxDiskBytes:
		return 0, model.Errorf(model.ErrInvalid, "cannot use a base of %d bytes", below.Size)
	case above.Size < COWBytes(below.Size):
		return 0, model.Errorf(model.ErrInvalid, "cannot use a file of %d bytes for the changes to %d bytes: it takes %d", above.Size, below.Size, COWBytes(below.Size))
	}
	return uint64(below.Size / sectorBytes), nil
}

func (h *Host) checkFile(f *os.File, access int) (unix.Stat_t, error) {
	return owned.Check(f, h.o.UID, unix.S_IFREG, access)
}

// chunkSectors is how much is copied at the first write to any of it: a page, and a block of the file systems above.
const chunkSectors = 8

// COWBytes is the size of a file for all changes that there can be to a base of so many bytes: each chunk, 16 bytes that
// tell where it is (a chunk's worth for 256 of them), and a header. One part in a hundred covers them but for the smallest.
func COWBytes(base int64) int64 {
	const chunk, slack = chunkSectors * sectorBytes, 1 << 20
	return (base+base/100+slack)/chunk*chunk + chunk
}

// snapshotTable is the mapped device's line: below and above, kept over a restart, in chunks.
func snapshotTable(below, above *os.File) (string, error) {
	var numbers [2]string
	for i, f := range []*os.File{below, above} {
		info, err := f.Stat()
		if err != nil {
			return "", err
		}
		dev, err := deviceOf(info)
		if err != nil {
			return "", err
		}
		numbers[i] = number(dev)
	}
	return fmt.Sprintf("%s %s P %d", numbers[0], numbers[1], chunkSectors), nil
}
