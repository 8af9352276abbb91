package qemu

import (
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/vmm"
)

var update = flag.Bool("update", false, "write the golden files anew")

func sample() vmm.Config {
	return vmm.Config{
		ID: "abcdefghijklmnop", Dir: "/state/vms/abcdefghijklmnop", VCPUs: 2, MemoryBytes: model.GiB,
		Kernel: "/data/kernels/1/vmlinux", Initrd: "/cache/initrd/1.cpio", Cmdline: []string{"banger.bench=/bin/echo,x"},
		Drives: []model.Drive{
			{Path: "/state/root, with \"odd\" name.qcow2", Format: "qcow2", Backing: "/data/images/base.ext4", Serial: model.SerialRoot},
			{Path: "/data/kernels/1/modules.ext4", Format: "raw", ReadOnly: true, Serial: model.SerialModules},
			{Path: "/dev/mapper/work", Format: "raw", Serial: model.SerialWork},
		},
	}
}

func TestArgvGolden(t *testing.T) {
	t.Parallel()
	linked := sample()
	linked.VCPUs = 1
	linked.Link = network.Link{Kind: network.LinkSocket, Socket: "/state/net", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	tapped := sample()
	tapped.Link, tapped.Tap = network.Link{Kind: network.LinkOpenTap, Tap: "tap0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}, os.Stdin
	for name, test := range map[string]struct {
		config vmm.Config
		host   Host
	}{
		"tap":  {tapped, Host{Binary: "/usr/bin/qemu-system-x86_64", Accel: "kvm"}},
		"tcg":  {sample(), Host{Binary: "/usr/bin/qemu-system-x86_64", Accel: "tcg", TSCKHz: 2_300_000}},
		"kvm":  {sample(), Host{Binary: "/usr/bin/qemu-system-x86_64", Accel: "kvm"}},
		"link": {linked, Host{Binary: "/usr/bin/qemu-system-x86_64", Accel: "tcg", TSCKHz: 2_300_000}},
	} {
		argv, err := Argv(test.config, test.host)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(argv, "\n") + "\n"
		path := filepath.Join("testdata", "argv-"+name+".txt")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestArgvRefuses(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*vmm.Config){
		"id":                  func(c *vmm.Config) { c.ID = "x,guest=y" },
		"no id":               func(c *vmm.Config) { c.ID = "" },
		"no vcpus":            func(c *vmm.Config) { c.VCPUs = 0 },
		"many vcpus":          func(c *vmm.Config) { c.VCPUs = model.MaxVCPUs + 1 },
		"little memory":       func(c *vmm.Config) { c.MemoryBytes = 1 },
		"much memory":         func(c *vmm.Config) { c.MemoryBytes = model.MaxMemoryBytes + 1 },
		"relative kernel":     func(c *vmm.Config) { c.Kernel = "vmlinux" },
		"option for a kernel": func(c *vmm.Config) { c.Kernel = "-incoming" },
		"newline in initrd":   func(c *vmm.Config) { c.Initrd = "/a\nb" },
		"NUL in a drive":      func(c *vmm.Config) { c.Drives[0].Path = "/a\x00b" },
		"not UTF-8":           func(c *vmm.Config) { c.Drives[0].Path = "/a\xffb" },
		"relative backing":    func(c *vmm.Config) { c.Drives[0].Backing = "base" },
		"qcow2 alone":         func(c *vmm.Config) { c.Drives[0].Backing = "" },
		"backed raw":          func(c *vmm.Config) { c.Drives[1].Backing = "/base" },
		"no format":           func(c *vmm.Config) { c.Drives[1].Format = "" },
		"other format":        func(c *vmm.Config) { c.Drives[1].Format = "vmdk" },
		"no serial":           func(c *vmm.Config) { c.Drives[1].Serial = "" },
		"long serial":         func(c *vmm.Config) { c.Drives[1].Serial = strings.Repeat("s", 21) },
		"odd serial":          func(c *vmm.Config) { c.Drives[1].Serial = "a,b" },
		"serial twice":        func(c *vmm.Config) { c.Drives[1].Serial = c.Drives[0].Serial },
		"two parameters":      func(c *vmm.Config) { c.Cmdline = []string{"a b"} },
		"parameter newline":   func(c *vmm.Config) { c.Cmdline = []string{"a\nb"} },
		"parameter quote":     func(c *vmm.Config) { c.Cmdline = []string{`a="b`} },
		"no parameter":        func(c *vmm.Config) { c.Cmdline = []string{""} },
		"long parameters":     func(c *vmm.Config) { c.Cmdline = []string{strings.Repeat("a", 2047)} },
		"relative link": func(c *vmm.Config) {
			c.Link = network.Link{Kind: network.LinkSocket, Socket: "net", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
		},
		"link without MAC": func(c *vmm.Config) { c.Link = network.Link{Kind: network.LinkSocket, Socket: "/net"} },
		"tap that is not open": func(c *vmm.Config) {
			c.Link = network.Link{Kind: network.LinkOpenTap, Tap: "tap0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
		},
		"tap by name": func(c *vmm.Config) { c.Link = network.Link{Kind: network.LinkTap, Tap: "tap0"} },
	} {
		c := sample()
		spoil(&c)
		argv, err := Argv(c, Host{Binary: "/q", Accel: "tcg", TSCKHz: 1})
		if !errors.Is(err, model.ErrInvalid) && !errors.Is(err, model.ErrUnsupported) {
			t.Errorf("%s: %v, %v", name, err, argv)
		}
	}
	if _, err := Argv(sample(), Host{Binary: "/q", Accel: "tcg"}); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("tcg without the clock's rate: %v", err)
	}
}
