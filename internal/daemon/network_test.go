package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/client"
	"banger/internal/model"
)

// network is what the pretended host holds of links.
func (h *host) network() string {
	h.t.Helper()
	var all []string
	entries, err := os.ReadDir(h.root + "/network")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(h.root + "/network/" + e.Name())
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return strings.Join(all, "\n")
}

func (h *host) create(c *client.Client, r client.CreateRequest) client.VM {
	h.t.Helper()
	r.DiskBytes, r.Start = model.MinDiskBytes, true
	result, err := finish(c.Create(h.t.Context(), r))
	if err != nil {
		h.t.Fatal(err)
	}
	return *result.VM
}

// awaitPorts waits until the VM's ports on the host are those, each as -p writes it, automatic ones with an asterisk.
func (h *host) awaitPorts(c *client.Client, id string, want ...string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer cancel()
	enough := errors.New("enough")
	var got []string
	err := c.WatchPorts(ctx, id, func(ports []client.Port) error {
		got = nil
		for _, p := range ports {
			text := model.PortForward{HostIP: model.Loopback(), HostPort: uint16(p.HostPort), GuestPort: uint16(p.GuestPort), UDP: p.Protocol == "udp"}.String()
			if p.Auto {
				text += "*"
			}
			got = append(got, text)
		}
		if slices.Equal(got, want) {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		h.t.Fatalf("the ports are %q, want %q: %v", got, want, err)
	}
}

// freePort is one that nobody has at this moment.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestPortsFollowTheGuestAcrossDaemons(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	cmd := h.start()
	c := h.dial()
	v := h.create(c, client.CreateRequest{Name: "box", PortsAuto: true, Ports: []client.Port{{GuestPort: 22, Protocol: "tcp"}}})
	h.awaitPorts(c, v.ID, "127.0.0.1:40000:22")

	e, err := c.Exec(t.Context(), client.ExecRequest{VM: v.ID, Argv: []string{"listen", "80"}})
	if err != nil {
		t.Fatal(err)
	}
	h.awaitPorts(c, v.ID, "127.0.0.1:40000:22", "127.0.0.1:40001:80*")

	// A daemon that is killed changes nothing: the next one knows the ports, those of the guest included.
	before := h.network()
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	e.Close()
	cmd = h.start()
	c = h.dial()
	if after := h.network(); after != before {
		t.Errorf("the links were\n%s\nand are\n%s", before, after)
	}

	// The listener ends when its client does not come back.
	h.awaitPorts(c, v.ID, "127.0.0.1:40000:22")
	if p, err := c.AddPort(t.Context(), v.ID, client.Port{GuestPort: 53, Protocol: "udp"}); err != nil || p.HostPort == 0 {
		t.Errorf("%+v, %v", p, err)
	}
	h.awaitPorts(c, v.ID, "127.0.0.1:40000:22", "127.0.0.1:40001:53/udp")
	if gone, err := c.RemovePort(t.Context(), v.ID, 22, 0, false); err != nil || len(gone) != 1 {
		t.Errorf("%+v, %v", gone, err)
	}
	if _, err := c.RemovePort(t.Context(), v.ID, 22, 0, false); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}

	// What was asked for is published again at the next start; what listened is not.
	if _, err := finish(c.Restart(t.Context(), v.ID, 0)); err != nil {
		t.Fatal(err)
	}
	h.awaitPorts(c, v.ID, "127.0.0.1:40000:53/udp")
	if _, err := finish(c.Delete(t.Context(), v.ID)); err != nil {
		t.Fatal(err)
	}
	if left := h.network(); left != "" {
		t.Errorf("left on the host: %s", left)
	}
	h.stop(cmd)
}

// TestPortsOfAVMThatIsReachedAsItIs has listeners be listed where they are, beside what is published.
func TestPortsOfAVMThatIsReachedAsItIs(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	cmd := h.start()
	c := h.dial()
	v := h.create(c, client.CreateRequest{Name: "box", NetworkBy: "direct", PortsAuto: true})
	listen := func() (end func()) {
		t.Helper()
		e, err := c.Exec(t.Context(), client.ExecRequest{VM: v.ID, Argv: []string{"listen", "80"}})
		if err != nil {
			t.Fatal(err)
		}
		return func() { e.Close() }
	}
	there := func() {
		t.Helper()
		h.awaitPorts(c, v.ID, "127.0.0.1:80:80*") // whose address awaitPorts does not look at
		vms, err := c.VMs(t.Context(), true)
		if err != nil || len(vms) != 1 || len(vms[0].Ports) != 1 {
			t.Fatalf("%+v, %v", vms, err)
		}
		ports, err := c.Ports(t.Context(), v.ID)
		if err != nil || !slices.Equal(ports, vms[0].Ports) {
			t.Errorf("the VM's ports are %+v, %v, in the list %+v", ports, err, vms[0].Ports)
		}
		if p := ports[0]; !strings.HasPrefix(p.HostIP, "10.0.") || p.HostName != v.ID+".test" || p.URL != "http://"+v.ID+".test:80/" {
			t.Errorf("%+v", p)
		}
	}
	end := listen()
	there()
	// A change of the network's leaves them.
	if err := c.SetNetwork(t.Context(), v.ID, client.NetworkChange{Policy: "none"}); err != nil {
		t.Fatal(err)
	}
	there()
	// A published one takes the place of its listener, and gives it back; another does not.
	free := freePort(t)
	for _, p := range []client.Port{{GuestPort: 80, Protocol: "tcp"}, {HostIP: "0.0.0.0", HostPort: free, GuestPort: 22, Protocol: "tcp"}} {
		if _, err := c.AddPort(t.Context(), v.ID, p); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	other := fmt.Sprintf("127.0.0.1:%d:22", free)
	h.awaitPorts(c, v.ID, "127.0.0.1:40000:80", other)
	if ports, err := c.Ports(t.Context(), v.ID); err != nil || len(ports) != 2 || ports[0].HostName != "" || ports[0].HostIP != "127.0.0.1" {
		t.Errorf("the ports are %+v, %v", ports, err)
	}
	if _, err := c.RemovePort(t.Context(), v.ID, 80, 0, false); err != nil {
		t.Error(err)
	}
	h.awaitPorts(c, v.ID, other, "127.0.0.1:80:80*")
	if err := c.SetNetwork(t.Context(), v.ID, client.NetworkChange{Policy: "public"}); err != nil {
		t.Fatal(err)
	}
	h.awaitPorts(c, v.ID, other, "127.0.0.1:80:80*")
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	end()
	cmd = h.start()
	c = h.dial()
	h.awaitPorts(c, v.ID, other)
	if _, err := c.RemovePort(t.Context(), v.ID, 22, 0, false); err != nil {
		t.Error(err)
	}
	defer listen()()
	there()
	if _, err := finish(c.Delete(t.Context(), v.ID)); err != nil {
		t.Fatal(err)
	}
	h.stop(cmd)
}

// TestAPublishedPortGivesTheAutomaticOneBack is of a listener that goes on listening: nothing of the guest's says so again.
func TestAPublishedPortGivesTheAutomaticOneBack(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	cmd := h.start()
	c := h.dial()
	v := h.create(c, client.CreateRequest{Name: "box", PortsAuto: true})
	e, err := c.Exec(t.Context(), client.ExecRequest{VM: v.ID, Argv: []string{"listen", "80"}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	h.awaitPorts(c, v.ID, "127.0.0.1:40000:80*")
	free := freePort(t)
	if _, err := c.AddPort(t.Context(), v.ID, client.Port{HostPort: free, GuestPort: 80}); err != nil {
		t.Fatal(err)
	}
	h.awaitPorts(c, v.ID, fmt.Sprintf("127.0.0.1:%d:80", free))
	if _, err := c.RemovePort(t.Context(), v.ID, free, 0, false); !errors.Is(err, client.ErrNotFound) || !strings.Contains(err.Error(), fmt.Sprintf("banger vm port remove box %d:80", free)) {
		t.Errorf("by the host's port: %v", err)
	}
	if _, err := c.RemovePort(t.Context(), v.ID, 80, 0, false); err != nil {
		t.Fatal(err)
	}
	ports, err := c.Ports(t.Context(), v.ID)
	if err != nil || len(ports) != 1 || !ports[0].Auto || ports[0].GuestPort != 80 {
		t.Errorf("after the remove: %+v, %v", ports, err)
	}
	// An end that somebody asked for is nothing to be warned of.
	for range 3 {
		if _, err := finish(c.Restart(t.Context(), v.ID, time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := finish(c.Delete(t.Context(), v.ID)); err != nil {
		t.Fatal(err)
	}
	h.stop(cmd)
	if log, err := os.ReadFile(dirsBelow(h.root).Log()); err != nil || strings.Contains(string(log), "cannot follow") {
		t.Errorf("the log says, %v:\n%s", err, log)
	}
}

func TestPortsThatCannotBe(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	cmd := h.start()
	c := h.dial()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	free := freePort(t)
	for name, r := range map[string]struct {
		client.CreateRequest
		kind error
	}{
		"taken":     {client.CreateRequest{Ports: []client.Port{{HostPort: port, GuestPort: 80}}}, client.ErrExists},
		"overlap":   {client.CreateRequest{Ports: []client.Port{{HostPort: free, GuestPort: 80}, {HostPort: free, GuestPort: 81}}}, client.ErrInvalid},
		"no guest":  {client.CreateRequest{Ports: []client.Port{{HostPort: free}}}, client.ErrInvalid},
		"no such":   {client.CreateRequest{Ports: []client.Port{{HostPort: 70000, GuestPort: 1}}}, client.ErrInvalid},
		"elsewhere": {client.CreateRequest{Ports: []client.Port{{HostIP: "192.0.2.1", HostPort: free, GuestPort: 80}}}, client.ErrInvalid},
		"word":      {client.CreateRequest{Network: "lan"}, client.ErrInvalid},
	} {
		if _, err := finish(c.Create(t.Context(), r.CreateRequest)); !errors.Is(err, r.kind) {
			t.Errorf("%s: got %v, want %v", name, err, r.kind)
		}
	}
	if vms, err := c.VMs(t.Context(), false); err != nil || len(vms) != 0 {
		t.Errorf("something was made: %+v, %v", vms, err)
	}

	// A port that is lost while the VM rests fails its start, and nothing else.
	v := h.create(c, client.CreateRequest{Name: "box", Ports: []client.Port{{HostPort: free, GuestPort: 80}}})
	if _, err := finish(c.Stop(t.Context(), v.ID, 0)); err != nil {
		t.Fatal(err)
	}
	thief, err := net.Listen("tcp", (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: free}).String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := finish(c.Start(t.Context(), v.ID)); !errors.Is(err, client.ErrExists) ||
		!strings.Contains(err.Error(), fmt.Sprintf("banger vm port remove box %d:80; banger vm port add box 0:80", free)) {
		t.Errorf("got %v, want ErrExists and the commands", err)
	}
	thief.Close()
	if _, err := finish(c.Start(t.Context(), v.ID)); err != nil {
		t.Error(err)
	}
	if _, err := c.AddPort(t.Context(), v.ID, client.Port{HostPort: free, GuestPort: 81}); !errors.Is(err, client.ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	if _, err := finish(c.Delete(t.Context(), v.ID)); err != nil {
		t.Fatal(err)
	}
	h.stop(cmd)
}

func TestNetworkChangesWhileItRunsOrNotAtAll(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	cmd := h.start()
	c := h.dial()
	v := h.create(c, client.CreateRequest{Name: "box", Network: "public"})
	show := func() string {
		t.Helper()
		found, err := c.Resolve(t.Context(), []string{"box"})
		if err != nil || found[0].Err != nil {
			t.Fatal(err, found)
		}
		return found[0].VM.Network
	}
	if err := c.SetNetwork(t.Context(), v.ID, client.NetworkChange{Policy: " public , 10.0.0.1 "}); err != nil || show() != "public,10.0.0.1" {
		t.Errorf("it is %q, %v", show(), err)
	}
	if err := c.SetNetwork(t.Context(), v.ID, client.NetworkChange{Policy: "lan"}); !errors.Is(err, client.ErrInvalid) || show() != "public,10.0.0.1" {
		t.Errorf("it is %q, %v", show(), err)
	}
	hostPorts := func() string {
		t.Helper()
		found, err := c.Resolve(t.Context(), []string{"box"})
		if err != nil || found[0].Err != nil {
			t.Fatal(err, found)
		}
		return fmt.Sprint(found[0].VM.HostPorts)
	}
	if err := c.SetNetwork(t.Context(), v.ID, client.NetworkChange{OpenHostPorts: []int{5432, 8080, 5432}}); err != nil || hostPorts() != "[5432 8080]" {
		t.Errorf("open are %s, %v", hostPorts(), err)
	}
	if err := c.SetNetwork(t.Context(), v.ID, client.NetworkChange{OpenHostPorts: []int{8080, 80}, CloseHostPorts: []int{5432}}); err != nil ||
		hostPorts() != "[8080 80]" || !strings.Contains(h.network(), `"HostPorts":[8080,80]`) {
		t.Errorf("open are %s, %v, the link is %s", hostPorts(), err, h.network())
	}
	// What is wrong in one part of a change leaves all of it.
	for _, wrong := range []struct {
		change client.NetworkChange
		is     error
		says   string
	}{
		{client.NetworkChange{Policy: "open", CloseHostPorts: []int{5432}}, client.ErrNotFound, "banger vm show box"},
		{client.NetworkChange{Policy: "lan", CloseHostPorts: []int{80}}, client.ErrInvalid, "lan"},
		{client.NetworkChange{Policy: "none", OpenHostPorts: []int{81}}, client.ErrInvalid, "--network public"},
		{client.NetworkChange{OpenHostPorts: []int{0}}, client.ErrInvalid, "0 is not a port"},
		{client.NetworkChange{CloseHostPorts: []int{65536}}, client.ErrInvalid, "65536 is not a port"},
		{client.NetworkChange{}, client.ErrInvalid, "nothing is named"},
	} {
		err := c.SetNetwork(t.Context(), v.ID, wrong.change)
		if !errors.Is(err, wrong.is) || !strings.Contains(err.Error(), wrong.says) || show() != "public,10.0.0.1" || hostPorts() != "[8080 80]" {
			t.Errorf("%+v: %v; it is %q, and open are %s", wrong.change, err, show(), hostPorts())
		}
	}
	// A change that the driver cannot make is taken back.
	breakNetwork := func(broken bool) {
		t.Helper()
		var err error
		if broken {
			err = errors.Join(os.Rename(h.root+"/network", h.root+"/was"), os.WriteFile(h.root+"/network", nil, 0o600))
		} else {
			err = errors.Join(os.Remove(h.root+"/network"), os.Rename(h.root+"/was", h.root+"/network"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	breakNetwork(true)
	if err := c.SetNetwork(t.Context(), v.ID, client.NetworkChange{Policy: "open", OpenHostPorts: []int{1}}); err == nil || show() != "public,10.0.0.1" || hostPorts() != "[8080 80]" {
		t.Errorf("it is %q, open are %s, %v", show(), hostPorts(), err)
	}
	breakNetwork(false)
	if !strings.Contains(h.network(), `"public,10.0.0.1"`) {
		t.Errorf("the link is %s", h.network())
	}
	if _, err := c.Denied(t.Context(), v.ID); !errors.Is(err, client.ErrUnsupported) {
		t.Errorf("a driver that does not explain: %v", err)
	}
	if _, err := finish(c.Stop(t.Context(), v.ID, 0)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetNetwork(t.Context(), v.ID, client.NetworkChange{Policy: "open"}); err != nil || show() != "open" {
		t.Errorf("at rest it is %q, %v", show(), err)
	}
	for _, ask := range []func() error{
		func() error { _, err := c.Check(t.Context(), v.ID, "example.org:443", false); return err },
		func() error { return c.WatchPorts(t.Context(), v.ID, func([]client.Port) error { return nil }) },
	} {
		if err := ask(); !errors.Is(err, client.ErrState) || !strings.Contains(err.Error(), "banger vm start box") {
			t.Errorf("of a VM that rests: %v", err)
		}
	}
	if _, err := finish(c.Delete(t.Context(), v.ID)); err != nil {
		t.Fatal(err)
	}
	h.stop(cmd)
}
