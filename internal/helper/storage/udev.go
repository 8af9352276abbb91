package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"banger/internal/model"
)

// loopMark is the size limit of every loop device made here. No file is as large (it is 98 TiB, "banger" in ASCII), so it
// limits nothing, but udev's rules can tell the devices by it, from their first event on: the label they cannot see.
const loopMark = 0x62616e676572

// UdevRules has udev pass over the devices made here. What they hold a guest wrote. udev would look in it for file systems,
// and link to the device by the label and the UUID that it finds: what mounts by those would get the guest's. And systemd
// would have a unit for each.
//
// The number that a mapped device has for a cookie says as much to the rules of device-mapper; these say it to all, and
// take it away: udev would start dmsetup twice for it. A cookie proper is left, since somebody waits for it.
var UdevRules = fmt.Appendf(nil, `# Written by banger. What these devices hold was written by virtual machines: nothing on this host is to look into it.
ACTION=="remove", GOTO="banger_end"
SUBSYSTEM!="block", GOTO="banger_end"
KERNEL=="loop*", ATTR{loop/sizelimit}=="%d", GOTO="banger_guest"
KERNEL!="dm-*", GOTO="banger_end"
ATTR{dm/uuid}!="BANGER-?*", GOTO="banger_end"
ENV{DM_COOKIE}!="|%d", GOTO="banger_guest"
ENV{DM_COOKIE}="", ENV{DM_UDEV_DISABLE_DM_RULES_FLAG}="1", ENV{DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG}="1"
ENV{DM_UDEV_DISABLE_DISK_RULES_FLAG}="1", ENV{DM_UDEV_DISABLE_OTHER_RULES_FLAG}="1"
LABEL="banger_guest"
ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1", ENV{UDISKS_IGNORE}="1", ENV{SYSTEMD_READY}="0"
OPTIONS:="nowatch"
LABEL="banger_end"
`, loopMark, handsOff)

// UdevFile is where the rules are installed. It comes before any other's rules for block devices.
const UdevFile = "/etc/udev/rules.d/09-banger.rules"

// UdevControl is there where udev runs.
const UdevControl = "/run/udev/control"

// UdevKnows is an error unless udev has the rules from the file, or there is no udev.
func UdevKnows(file string) error {
	if _, err := os.Lstat(UdevControl); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return hasRules(file)
}

func hasRules(file string) error {
	switch text, err := os.ReadFile(file); {
	case errors.Is(err, fs.ErrNotExist):
		return model.Errorf(model.ErrNotFound, "udev does not know yet what to keep away from: there is no %s", file)
	case err != nil:
		return err
	case !bytes.Equal(text, UdevRules):
		return model.Errorf(model.ErrNotFound, "udev does not know what to keep away from: %s is not of this version", file)
	}
	return nil
}

// udevKnows is an error unless udev passes over what is about to be made.
func (h *Host) udevKnows() error {
	if h.o.Udev != nil {
		return h.o.Udev.Ready()
	}
	if err := UdevKnows(UdevFile); err != nil {
		return model.Fixable(model.ErrUnavailable, "sudo banger system install", "%w", err)
	}
	return nil
}

// Idle says whether the installation has no device here.
func (h *Host) Idle() (bool, error) {
	loops, err := h.loops(func(string) bool { return true })
	return len(loops) == 0, err
}
