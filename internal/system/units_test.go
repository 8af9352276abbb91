package system

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"banger/internal/helper"
	"banger/internal/helper/netcall"
	"banger/internal/helper/storagecall"
	"banger/internal/model"
	"banger/internal/testenv"
)

func unitsOf(t *testing.T, name string) (socket, unit string) {
	t.Helper()
	for _, v := range services() {
		if v.name == name {
			files, err := v.units(1000)
			if err != nil {
				t.Fatal(err)
			}
			return files[v.socketName()], files[v.serviceName()]
		}
	}
	t.Fatalf("there is no service %s", name)
	return "", ""
}

// TestARestartEndsNoVM pins what systemd would otherwise do to what a helper has started and written down: it kills a
// stopped service's whole control group, and empties its runtime directory, in which the sockets lie, too.
func TestARestartEndsNoVM(t *testing.T) {
	t.Parallel()
	for _, v := range services() {
		socket, unit := unitsOf(t, v.name)
		for _, line := range []string{
			"KillMode=process", "RuntimeDirectory=banger", "RuntimeDirectoryPreserve=yes", "NoNewPrivileges=yes", "TimerSlackNSec=1ms",
			"ExecStart=/usr/local/lib/banger/banger-helper " + v.name + " --owner 1000",
		} {
			if !strings.Contains("\n"+unit, "\n"+line+"\n") {
				t.Errorf("%s: no line %q", v.serviceName(), line)
			}
		}
		for _, line := range []string{"ListenSequentialPacket=/run/banger/" + v.name + ".sock", "SocketUser=1000", "SocketMode=0600"} {
			if !strings.Contains("\n"+socket, "\n"+line+"\n") {
				t.Errorf("%s: no line %q", v.socketName(), line)
			}
		}
		if owner, ok := ownerIn(socket); !ok || owner != 1000 {
			t.Errorf("%s is for %d, %t", v.socketName(), owner, ok)
		}
	}
}

// TestWhatTheStorageServiceMayDo pins what was widened for it, to no more than that.
func TestWhatTheStorageServiceMayDo(t *testing.T) {
	t.Parallel()
	_, unit := unitsOf(t, storagecall.Service)
	want := []string{
		"CapabilityBoundingSet=CAP_SYS_ADMIN CAP_MKNOD CAP_CHOWN CAP_DAC_OVERRIDE CAP_SETUID CAP_SETGID CAP_NET_ADMIN CAP_NET_RAW",
		"DeviceAllow=/dev/loop-control rw", "DeviceAllow=block-loop rwm", "DeviceAllow=/dev/mapper/control rw",
		"DeviceAllow=block-device-mapper m", "DeviceAllow=/dev/net/tun rw", "RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_PACKET", "RestrictNamespaces=mnt net",
		"ProtectControlGroups=no",
	}
	if got := granted(unit); !slices.Equal(got, want) {
		t.Errorf("granted is %q, not %q", got, want)
	}
	for _, line := range []string{"ProtectKernelTunables=yes", "ProtectSystem=strict", "ProtectHome=yes"} {
		if !strings.Contains(unit, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
}

// granted are the lines of a unit that give it something.
func granted(unit string) (lines []string) {
	for line := range strings.Lines(unit) {
		key, _, _ := strings.Cut(line, "=")
		switch key {
		case "CapabilityBoundingSet", "IPAddressAllow", "AmbientCapabilities", "DeviceAllow", "ReadWritePaths", "BindPaths", "RestrictAddressFamilies", "RestrictNamespaces":
			lines = append(lines, strings.TrimSpace(line))
		case "ProtectControlGroups":
			if line != "ProtectControlGroups=yes\n" {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return lines
}

// TestWhatTheNetworkServiceMayChange pins what was widened for it, to no more than that.
func TestWhatTheNetworkServiceMayChange(t *testing.T) {
	t.Parallel()
	_, unit := unitsOf(t, netcall.Service)
	want := []string{
		"CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE", "DeviceAllow=/dev/net/tun rw",
		"RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET",
		"ReadWritePaths=/proc/sys/net/ipv4/ip_forward", "ReadWritePaths=/proc/sys/net/ipv4/conf", "ReadWritePaths=-/proc/sys/net/ipv6/conf", "RestrictNamespaces=yes",
		"IPAddressAllow=" + model.GuestRange().String(),
	}
	if got := granted(unit); !slices.Equal(got, want) {
		t.Errorf("granted is %q, not %q", got, want)
	}
	if !strings.Contains(unit, "\nProtectKernelTunables=yes\n") || strings.Contains(unit, "\nPrivateNetwork=yes\n") {
		t.Errorf("all settings can be written, or none of the host's:\n%s", unit)
	}
}

func TestTheHelperIsWhatIsInstalled(t *testing.T) {
	t.Parallel()
	known, installed := helper.Services(), services()
	for _, v := range installed {
		if _, ok := known[v.name]; !ok {
			t.Errorf("the helper cannot be the service %s", v.name)
		}
	}
	if len(known) != len(installed) {
		t.Errorf("of %d services %d are installed", len(known), len(installed))
	}
}

func TestTheExposureOfTheServices(t *testing.T) {
	t.Parallel()
	testenv.NeedTool(t, "systemd-analyze")
	for name, most := range map[string]float64{"storage": 5.0, "network": 2.5} {
		_, unit := unitsOf(t, name)
		path := filepath.Join(t.TempDir(), "banger-"+name+".service")
		if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", path).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		found := regexp.MustCompile(`exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
		if found == nil {
			t.Fatalf("no figure: %s", out)
		}
		if level, err := strconv.ParseFloat(string(found[1]), 64); err != nil || level >= most {
			t.Errorf("%s: %s, want less than %v", name, found[1], most)
		} else {
			t.Logf("%s: %s", name, found[1])
		}
	}
}
