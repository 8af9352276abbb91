package doctor

import (
	"fmt"
	"strings"

	"banger/internal/emptyext4"
	"banger/internal/model"
	"banger/internal/vm"
)

// Choice says what new VMs get and why, and how fast the host's processor is for it. err is why they get nothing.
func Choice(c vm.Choice, err error) []model.Check {
	if err != nil {
		return []model.Check{model.CheckOf("vmm", err, ""), checkDisks("")}
	}
	chosen := append([]string{fmt.Sprintf("%s %s, with %s, on the network %s", c.VMM, c.Features.Version, c.Features.Accel, c.Network)}, c.Passed...)
	speed := model.Check{Name: "kvm", Status: model.CheckOK, Detail: "a guest of it runs at full speed"}
	switch {
	case c.Features.Slow != "":
		speed.Status, speed.Detail, speed.Fix = model.CheckWarning, c.Features.Slow, c.Features.Fix
	case c.Features.Accel != "kvm":
		speed.Detail = "it is not used"
	}
	return []model.Check{model.CheckOf("vmm", nil, strings.Join(chosen, "; ")), speed, checkDisks(c.RootDisk)}
}

// checkDisks says whether a VM's disks can be made, for those that get that root disk.
func checkDisks(root string) model.Check {
	detail := "mke2fs makes them"
	if root != "" {
		detail = "the root is made by " + root + " over the image, the home by mke2fs"
	}
	_, err := emptyext4.Find()
	return model.CheckOf("disks", err, detail)
}
