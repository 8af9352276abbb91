package firecracker

import (
	"path/filepath"
	"strconv"
	"strings"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/vmm"
)

// What this driver uses of Firecracker's API, as its published description has it.
type (
	machineConfig struct {
		VCPUCount  int   `json:"vcpu_count"`
		MemSizeMiB int64 `json:"mem_size_mib"`
	}
	bootSource struct {
		KernelImagePath string `json:"kernel_image_path"`
		InitrdPath      string `json:"initrd_path"`
		BootArgs        string `json:"boot_args"`
	}
	drive struct {
		DriveID      string `json:"drive_id"`
		PathOnHost   string `json:"path_on_host"`
		IsRootDevice bool   `json:"is_root_device"`
		IsReadOnly   bool   `json:"is_read_only"`
		CacheType    string `json:"cache_type"`
		IOEngine     string `json:"io_engine"`
	}
	networkInterface struct {
		IfaceID     string `json:"iface_id"`
		HostDevName string `json:"host_dev_name"`
		GuestMAC    string `json:"guest_mac"`
	}
	vsockDevice struct {
		GuestCID int    `json:"guest_cid"`
		UDSPath  string `json:"uds_path"`
	}
	serialDevice struct {
		SerialOutPath string `json:"serial_out_path"`
	}
	action struct {
		ActionType string `json:"action_type"`
	}
)

const (
	maxVCPUs = 32
	// guestCID is the same in all VMs: on the host each has a socket of its own and no CID.
	guestCID = 3
)

// request is one call of the API; all that are made here are PUT.
type request struct {
	path string
	body any
}

// configure returns the calls that make a machine of c and start it. The machine's own files are in the directory at, as the
// VMM sees it.
func configure(c vmm.Config, console bool, at string) ([]request, error) {
	if err := check(c); err != nil {
		return nil, err
	}
	line, err := cmdline(c, console)
	if err != nil {
		return nil, err
	}
	// Without a console, what the guest writes to the device all the same goes nowhere.
	serial := "/dev/null"
	if console {
		serial = filepath.Join(at, fifoConsole)
	}
	all := []request{
		{"/machine-config", machineConfig{VCPUCount: c.VCPUs, MemSizeMiB: c.MemoryBytes / model.MiB}},
		{"/boot-source", bootSource{KernelImagePath: c.Kernel, InitrdPath: c.Initrd, BootArgs: line}},
		{"/serial", serialDevice{SerialOutPath: serial}},
		{"/entropy", struct{}{}},
		{"/vsock", vsockDevice{GuestCID: guestCID, UDSPath: filepath.Join(at, socketVsock)}},
	}
	for i, d := range c.Drives {
		id := "drive" + strconv.Itoa(i)
		all = append(all, request{"/drives/" + id, drive{
			DriveID: id, PathOnHost: d.Path, IsReadOnly: d.ReadOnly,
			// A flush of the guest is a flush on the host; Firecracker's default would drop it.
			CacheType: "Writeback",
			// The engine with less of the host's kernel in it: its io_uring one is a preview.
			IOEngine: "Sync",
		}})
	}
	if c.Link.Kind != network.LinkNone {
		all = append(all, request{"/network-interfaces/net", networkInterface{
			IfaceID: "net", HostDevName: c.Link.Tap, GuestMAC: c.Link.MAC.String(),
		}})
	}
	return append(all, request{"/actions", action{ActionType: "InstanceStart"}}), nil
}

// cmdline is the kernel's, with what this machine needs beyond what every guest is told. That there is no PCI Firecracker
// says itself.
func cmdline(c vmm.Config, console bool) (string, error) {
	words := []string{
		"banger.channel=vsock", "banger.off=keyboard",
		// There is no keyboard, and no mouse whose absence would be waited for.
		"i8042.noaux", "i8042.nomux", "i8042.dumbkbd",
	}
	if len(c.Drives) > 0 {
		serials := make([]string, len(c.Drives))
		for i, d := range c.Drives {
			serials[i] = d.Serial
		}
		words = append(words, "banger.drives="+strings.Join(serials, ","))
	}
	if console {
		words = append(words, "console=ttyS0")
	} else {
		words = append(words, "8250.nr_uarts=0")
	}
	return c.CommandLine(words...)
}
