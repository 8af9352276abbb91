package firecracker

import (
	"errors"
	"net"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/vmm"
)

func TestRefuses(t *testing.T) {
	t.Parallel()
	tap := network.Link{Kind: network.LinkTap, Tap: "tap0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	for name, spoil := range map[string]func(*vmm.Config){
		"id":                func(c *vmm.Config) { c.ID = "x y" },
		"many vcpus":        func(c *vmm.Config) { c.VCPUs = maxVCPUs + 1 },
		"little memory":     func(c *vmm.Config) { c.MemoryBytes = 1 },
		"relative kernel":   func(c *vmm.Config) { c.Kernel = "vmlinux" },
		"newline in initrd": func(c *vmm.Config) { c.Initrd = "/a\nb" },
		"qcow2":             func(c *vmm.Config) { c.Drives[0].Format, c.Drives[0].Backing = "qcow2", "/base" },
		"serial twice":      func(c *vmm.Config) { c.Drives[1].Serial = c.Drives[0].Serial },
		"serial with comma": func(c *vmm.Config) { c.Drives[1].Serial = "a,b" },
		"two parameters":    func(c *vmm.Config) { c.Cmdline = []string{"a b"} },
		"socket":            func(c *vmm.Config) { c.Link = network.Link{Kind: network.LinkSocket, Socket: "/s", MAC: tap.MAC} },
		"no tap":            func(c *vmm.Config) { c.Link = tap; c.Link.Tap = "" },
		"odd tap":           func(c *vmm.Config) { c.Link = tap; c.Link.Tap = "../tap" },
		"long tap":          func(c *vmm.Config) { c.Link = tap; c.Link.Tap = strings.Repeat("t", 16) },
		"no MAC":            func(c *vmm.Config) { c.Link = tap; c.Link.MAC = nil },
		"MAC of zeros":      func(c *vmm.Config) { c.Link = tap; c.Link.MAC = make(net.HardwareAddr, 6) },
	} {
		c := sample(t, t.TempDir())
		spoil(&c)
		r, err := configure(c, false, "")
		if !errors.Is(err, model.ErrInvalid) && !errors.Is(err, model.ErrUnsupported) {
			t.Errorf("%s: %v, %v", name, err, r)
		}
	}
}

// TestLink checks the call for a tap by its words: no recording has a device of the host.
func TestLink(t *testing.T) {
	t.Parallel()
	c := sample(t, t.TempDir())
	c.Link = network.Link{Kind: network.LinkTap, Tap: "bgr-abc-1", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	all, err := configure(c, true, "")
	if err != nil {
		t.Fatal(err)
	}
	var tap, serial bool
	for _, r := range all {
		switch body := r.body.(type) {
		case networkInterface:
			tap = body == networkInterface{IfaceID: "net", HostDevName: "bgr-abc-1", GuestMAC: "02:00:00:00:00:01"} && r.path == "/network-interfaces/net"
		case serialDevice:
			serial = body.SerialOutPath == fifoConsole
		case bootSource:
			if !strings.Contains(body.BootArgs, " console=ttyS0") || strings.Contains(body.BootArgs, "nr_uarts") {
				t.Errorf("with a console the kernel is told %q", body.BootArgs)
			}
		}
	}
	if !tap || !serial {
		t.Errorf("the tap is attached: %v, the console is: %v", tap, serial)
	}
}
