package jail

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"banger/internal/model"
)

// The user ids of VMMs: from FirstUID on, in a range that useradd(8), systemd and sssd give to nobody unless they are told
// to. The upper bits are an installation's, the lower ones the slot.
const (
	FirstUID = 0x78000000
	slotBits = 13
	markBits = 14
	LastUID  = FirstUID + 1<<(slotBits+markBits) - 1
	MaxSlot  = 1<<slotBits - 1
)

// uid is that of the VMM in a slot. Two installations may have the same, as one of 16,384 do: see alone.
func (h *Host) uid(slot int) int {
	sum := sha256.Sum256([]byte("banger jails " + h.prefix()))
	mark := int(binary.BigEndian.Uint32(sum[:4]) >> (32 - markBits))
	return FirstUID + mark<<slotBits + slot
}

// UID is that of the VMM in a slot.
func (h *Host) UID(slot int) (int, error) {
	if slot < 1 || slot > MaxSlot {
		return 0, model.Errorf(model.ErrUnsupported, "its number is %d, and there are user ids for %d", slot, MaxSlot)
	}
	return h.uid(slot), nil
}

// nobodys is an error for a user id that somebody has, or may give to the processes of a container.
func nobodys(uid int) error {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return model.Errorf(model.ErrExists, "the user id %d is that of %s", uid, u.Username)
	}
	if g, err := user.LookupGroupId(id); err == nil {
		return model.Errorf(model.ErrExists, "the group id %d is that of %s", uid, g.Name)
	}
	for _, path := range []string{"/etc/subuid", "/etc/subgid"} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		owner, err := subordinate(f, uid)
		f.Close()
		if err != nil {
			return err
		}
		if owner != "" {
			return model.Errorf(model.ErrExists, "%s gives the id %d to %s", path, uid, owner)
		}
	}
	return nil
}

// subordinate returns to whom a file such as subuid(5) gives an id, "" for nobody.
func subordinate(r io.Reader, id int) (string, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(f) != 3 {
			continue
		}
		first, err := strconv.Atoi(f[1])
		count, cerr := strconv.Atoi(f[2])
		if err == nil && cerr == nil && id >= first && id-first < count {
			return f[0], nil
		}
	}
	return "", lines.Err()
}

// alone is an error when another jail has the user id.
func (h *Host) alone(id model.VMID, uid int) error {
	entries, err := os.ReadDir(h.o.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == h.name(id) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just ended
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Gid) == uid {
			return model.Errorf(model.ErrExists, "the VMM in %s has the user id %d; stop that VM first", filepath.Join(h.o.Dir, e.Name()), uid)
		}
	}
	return nil
}
