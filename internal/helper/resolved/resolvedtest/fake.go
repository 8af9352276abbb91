// Package resolvedtest has a bus of a test's own, and what stands for systemd-resolved on it.
package resolvedtest

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"banger/internal/testenv"
)

const (
	service = "org.freedesktop.resolve1"
	path    = dbus.ObjectPath("/org/freedesktop/resolve1")
)

// Bus starts a bus with nobody on it, and returns its address.
func Bus(t testing.TB) string {
	t.Helper()
	dir := testenv.QuickDir(t)
	config := fmt.Sprintf(`<busconfig><type>session</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`, dir)
	file := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testenv.NeedTool(t, "dbus-daemon"), "--config-file="+file, "--nofork", "--print-address")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return "unix:path=" + dir + "/bus"
}

// Link is what resolved was told of a device.
type Link struct {
	Domains      []string // with ~ before those that are for routing only
	Servers      []netip.Addr
	DefaultRoute bool
	Settings     map[string]string // LLMNR, MulticastDNS, DNSOverTLS, DNSSEC
}

// Fake takes what resolved does, for the devices that this network namespace has.
type Fake struct {
	mu    sync.Mutex
	links map[int32]Link
	fails map[string]*dbus.Error
	early bool
	calls int
}

// Start puts it on a bus, until the test ends.
func Start(t testing.TB, bus string) *Fake {
	t.Helper()
	conn, err := dbus.Connect(bus)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	f := &Fake{links: map[int32]Link{}, fails: map[string]*dbus.Error{}}
	if err := conn.ExportMethodTable(map[string]any{
		"SetLinkDNS": f.setDNS, "SetLinkDomains": f.setDomains, "SetLinkDefaultRoute": f.setDefaultRoute,
		"SetLinkLLMNR": f.setting("LLMNR"), "SetLinkMulticastDNS": f.setting("MulticastDNS"),
		"SetLinkDNSOverTLS": f.setting("DNSOverTLS"), "SetLinkDNSSEC": f.setting("DNSSEC"),
		"RevertLink": f.revert, "GetLink": func(index int32) (dbus.ObjectPath, *dbus.Error) { return linkPath(index), f.known("GetLink", index) },
	}, path, service+".Manager"); err != nil {
		t.Fatal(err)
	}
	if err := conn.ExportSubtreeMethodTable(map[string]any{"Get": f.get}, path+"/link", "org.freedesktop.DBus.Properties"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName(service, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return f
}

// Link returns what it was told of a device, and whether it was told anything.
func (f *Fake) Link(index int) (Link, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, told := f.links[int32(index)]
	l.Settings = maps.Clone(l.Settings)
	return l, told
}

// Calls says how often it was called at all.
func (f *Fake) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Early says whether a device had a server before it was said what that is asked for.
func (f *Fake) Early() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.early
}

// Fail has a method fail from now on, with the error of that name; "" no more.
func (f *Fake) Fail(method, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.fails, method)
	if name != "" {
		f.fails[method] = dbus.NewError(name, []any{"as the test wants it"})
	}
}

func (f *Fake) known(method string, index int32) *dbus.Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if err := f.fails[method]; err != nil {
		return err
	}
	if _, err := net.InterfaceByIndex(int(index)); err != nil {
		return dbus.NewError(service+".NoSuchLink", []any{fmt.Sprintf("Link %d not known", index)})
	}
	return nil
}

func (f *Fake) change(method string, index int32, edit func(*Link)) *dbus.Error {
	if err := f.known(method, index); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l, told := f.links[index]
	if !told {
		l = Link{DefaultRoute: true, Settings: map[string]string{}}
	}
	edit(&l)
	f.early = f.early || len(l.Servers) > 0 && (len(l.Domains) == 0 || l.DefaultRoute)
	f.links[index] = l
	return nil
}

func (f *Fake) setDNS(index int32, servers []struct {
	Family  int32
	Address []byte
},
) *dbus.Error {
	return f.change("SetLinkDNS", index, func(l *Link) {
		l.Servers = nil
		for _, s := range servers {
			address, _ := netip.AddrFromSlice(s.Address)
			l.Servers = append(l.Servers, address)
		}
	})
}

func (f *Fake) setDomains(index int32, domains []struct {
	Name      string
	RouteOnly bool
},
) *dbus.Error {
	return f.change("SetLinkDomains", index, func(l *Link) {
		l.Domains = nil
		for _, d := range domains {
			name := d.Name
			if d.RouteOnly {
				name = "~" + name
			}
			l.Domains = append(l.Domains, name)
		}
	})
}

func (f *Fake) setDefaultRoute(index int32, is bool) *dbus.Error {
	return f.change("SetLinkDefaultRoute", index, func(l *Link) { l.DefaultRoute = is })
}

func (f *Fake) setting(name string) func(int32, string) *dbus.Error {
	return func(index int32, value string) *dbus.Error {
		return f.change("SetLink"+name, index, func(l *Link) { l.Settings[name] = value })
	}
}

func (f *Fake) revert(index int32) *dbus.Error {
	err := f.known("RevertLink", index)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.links, index)
	}
	return err
}

func linkPath(index int32) dbus.ObjectPath {
	return path + dbus.ObjectPath(fmt.Sprintf("/link/_%d", index))
}

// get answers for a property of the device whose path was asked.
func (f *Fake) get(message dbus.Message, _, property string) (dbus.Variant, *dbus.Error) {
	var index int32
	at, _ := message.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	if _, err := fmt.Sscanf(string(at), string(path)+"/link/_%d", &index); err != nil {
		return dbus.Variant{}, dbus.MakeFailedError(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.links[index]
	switch property {
	case "Domains":
		type domain struct {
			Name      string
			RouteOnly bool
		}
		all := []domain{}
		for _, d := range l.Domains {
			if d[0] == '~' {
				all = append(all, domain{d[1:], true})
			} else {
				all = append(all, domain{d, false})
			}
		}
		return dbus.MakeVariant(all), nil
	case "DNS":
		type server struct {
			Family  int32
			Address []byte
		}
		all := []server{}
		for _, s := range l.Servers {
			all = append(all, server{2, s.AsSlice()})
		}
		return dbus.MakeVariant(all), nil
	}
	return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownProperty", nil)
}
