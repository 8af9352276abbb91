package cli

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"banger/internal/model"
	"banger/internal/server/servertest"
)

func TestRunWithANetwork(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Program = servertest.Exit(0)
	b.env["http_proxy"] = "http://user:secret@localhost:3128"
	b.env["HTTPS_PROXY"] = "proxy.example:8080"
	b.env["no_proxy"] = "localhost,.example"
	b.run(t, "vm", "run", "--network", " public , 10.0.0.1:22", "-p", "8080:80", "--publish", "0.0.0.0:53:53/udp", "--host-port", "5432",
		"--host-port", "5432", "--proxy", "--ca", "-e", "A=1", "--", "true").want(t, 0, "", "")
	spec := b.VMs.Created()[0].Spec
	if spec.Network != "public,10.0.0.1:22" || fmt.Sprint(spec.Ports) != "[127.0.0.1:8080:80 0.0.0.0:53:53/udp]" ||
		fmt.Sprint(spec.HostPorts) != "[5432 3128]" || !spec.Proxy || !spec.CA || spec.PortsAuto {
		t.Errorf("%+v", spec)
	}
	if want := []string{
		"http_proxy=http://user:secret@host.banger.internal:3128", "HTTPS_PROXY=proxy.example:8080", "no_proxy=localhost,.example", "A=1",
	}; !slices.Equal(spec.Env, want) {
		t.Errorf("%q, want %q", spec.Env, want)
	}
}

func TestWhoseportsAppear(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]bool{
		"run -- true": false, "run --name box -- true": true, "run": true, "run -d": true, "run --rm": true, "run --rm --name box -- true": false,
		"run --ports auto -- true": true, "run --ports none --name box": false, "run --network none --name box": false, "create": true,
	} {
		b := newBench(t)
		b.VMs.Program = servertest.Exit(0)
		if r := b.run(t, append([]string{"vm"}, strings.Fields(args)...)...); r.code != 0 {
			t.Errorf("%s: %+v", args, r)
		} else if got := b.VMs.Created()[0].Spec.PortsAuto; got != want {
			t.Errorf("%s: automatic ports %v", args, got)
		}
	}
}

func TestBadNetworkFlags(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"run --network lan -- true":                    `the network entry "lan"`,
		"run --network none,public -- true":            "it stands alone",
		"run -p 80 -- true":                            "8080:80",
		"run -p 8080:80 -p 8080:81 -- true":            "the same port of the host",
		"run -p 8080:80 -p 8080:80 -- true":            "the same port of the host",
		"run --host-port 0 -- true":                    "not a port",
		"run --ports all -- true":                      "neither auto nor none",
		"run --network none --ports auto -- true":      "leave --ports auto",
		"run --network none --host-port 5432 -- true":  "leave --host-port",
		"run --network none --proxy -- true":           "leave --proxy",
		"set box":                                      "--network POLICY",
		"set --host-port 80 --remove-host-port 80 box": "not both",
		"set --network none --host-port 80 box":        "leave --host-port",
		"set --remove-host-port 65536 box":             "not a port",
		"set --network public":                         "name a VM",
		"port add box":                                 "name a VM and a port",
		"port add box 80":                              "8080:80",
		"port remove box x":                            "GUEST or HOST:GUEST",
		"port remove box 1:2:3:4":                      "not a port to publish",
		"ports box other":                              "name one VM",
		"network check box":                            "a destination",
		"network deny box":                             "not a command",
	} {
		b := newBench(t)
		r := b.run(t, append([]string{"vm"}, strings.Fields(args)...)...)
		if r.code == 0 || r.out != "" || !strings.Contains(r.err, says) {
			t.Errorf("%s: %+v", args, r)
		}
		if calls := b.VMs.Calls(); len(calls) > 0 {
			t.Errorf("%s: the daemon was asked: %q", args, calls)
		}
	}
}

// TestPortsAtAName lists them there, where a name is known.
func TestPortsAtAName(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v := b.VMs.Add("box", model.StateRunning)
	b.VMs.AppearAt(v.ID, netip.MustParseAddr("198.18.4.2"), "box.vm", 80)
	b.VMs.AppearAt(v.ID, netip.MustParseAddr("198.18.4.2"), "", 443)
	b.run(t, "vm", "ports", "box").want(t, 0, ""+
		"GUEST     HOST             KIND   URL\n"+
		"80/tcp    box.vm:80        auto   http://box.vm:80/\n"+
		"443/tcp   198.18.4.2:443   auto   https://198.18.4.2:443/\n", "")
	b.run(t, "vm", "ports", "-q", "box").want(t, 0, "http://box.vm:80/\nhttps://198.18.4.2:443/\n", "")
}

func TestPortsOfAVM(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v := b.VMs.Add("box", model.StateRunning)
	b.run(t, "vm", "port", "add", "box", "0:80", "127.0.0.2:53:53/udp").want(t, 0, "127.0.0.1:40000:80\n127.0.0.2:53:53/udp\n", "")
	b.VMs.Appear(v.ID, 8443)
	b.run(t, "vm", "ports", "box").want(t, 0, ""+
		"GUEST      HOST              KIND        URL\n"+
		"80/tcp     127.0.0.1:40000   published   http://127.0.0.1:40000/\n"+
		"53/udp     127.0.0.2:53      published   \n"+
		"8443/tcp   127.0.0.1:8443    auto        https://127.0.0.1:8443/\n", "")
	b.run(t, "vm", "port", "list", "-q", "box").want(t, 0, "http://127.0.0.1:40000/\n127.0.0.2:53\nhttps://127.0.0.1:8443/\n", "")
	if r := b.run(t, "vm", "ports", "box", "--format", "json"); !strings.Contains(r.out, `"host_port": 8443`) || !strings.Contains(r.out, `"auto": true`) {
		t.Errorf("%+v", r)
	}
	b.VMs.Add("idle", model.StateRunning)
	other := b.VMs.Add("other", model.StateRunning)
	b.VMs.Appear(other.ID, 3000)
	off := b.VMs.Add("off", model.StateStopped)
	b.VMs.Appear(off.ID, 4000)
	b.run(t, "vm", "ports").want(t, 0, ""+
		"VM      GUEST      HOST              KIND        URL\n"+
		"box     80/tcp     127.0.0.1:40000   published   http://127.0.0.1:40000/\n"+
		"box     53/udp     127.0.0.2:53      published   \n"+
		"box     8443/tcp   127.0.0.1:8443    auto        https://127.0.0.1:8443/\n"+
		"other   3000/tcp   127.0.0.1:3000    auto        http://127.0.0.1:3000/\n")
	b.run(t, "vm", "port", "list", "-q").want(t, 0, "http://127.0.0.1:40000/\n127.0.0.2:53\nhttps://127.0.0.1:8443/\nhttp://127.0.0.1:3000/\n")
	for args, vms := range map[string]string{"ports": "box box box other", "ports box": "box box box", "ports idle": ""} {
		var ports []struct {
			VM   string `json:"vm"`
			Host int    `json:"host_port"`
		}
		decode(t, b.run(t, append([]string{"vm"}, strings.Fields(args+" --format json")...)...), &ports)
		var whose []string
		for _, p := range ports {
			if whose = append(whose, p.VM); p.Host == 0 {
				t.Errorf("%s: %+v", args, p)
			}
		}
		if got := strings.Join(whose, " "); got != vms || ports == nil {
			t.Errorf("%s: %q, want %q", args, got, vms)
		}
	}
	if r := b.run(t, "vm", "show", "box"); !strings.Contains(r.out, "127.0.0.1:40000:80 127.0.0.2:53:53/udp") {
		t.Errorf("%+v", r)
	}
	b.run(t, "vm", "port", "rm", "box", "53/udp").want(t, 0, "127.0.0.2:53:53/udp\n", "")
	b.run(t, "vm", "port", "remove", "box", "40000:80").want(t, 0, "127.0.0.1:40000:80\n", "")
	if r := b.run(t, "vm", "port", "remove", "box", "80"); r.code == 0 {
		t.Errorf("%+v", r)
	}
}

func TestNetworkIsChangedAndExplained(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Add("box", model.StateRunning)
	b.VMs.Add("other", model.StateStopped)
	b.run(t, "vm", "set", "--network", "open", "box", "other").want(t, 0, "box\nother\n", "")
	if r := b.run(t, "vm", "show", "box"); !strings.Contains(r.out, "open") {
		t.Errorf("%+v", r)
	}
	b.run(t, "vm", "set", "--host-port", "5432", "--host-port", "8080", "box").want(t, 0, "box\n", "")
	b.run(t, "vm", "set", "--host-port", "3128", "--remove-host-port", "5432", "--network", "public", "box", "other").want(t, 0, "box\nother\n", "")
	if r := b.run(t, "vm", "show", "box"); !strings.Contains(r.out, "8080 3128\n") || strings.Contains(r.out, "5432") || !strings.Contains(r.out, "public") {
		t.Errorf("%+v", r)
	}
	for args, want := range map[string]string{"": "3128\n8080\n:4\n", "other ": "3128\n:4\n"} {
		if r := b.run(t, append(strings.Fields("__complete vm set "+args+"--remove-host-port"), "")...); r.out != want {
			t.Errorf("%q: %+v", args, r)
		}
	}
	b.run(t, "vm", "network", "denied", "-q", "box").want(t, 0, "10.0.0.1:22\n", "")
	b.run(t, "vm", "network", "denied", "box").want(t, 0, ""+
		"PROTOCOL   DESTINATION   COUNT   LAST       RULE\n"+
		"tcp        10.0.0.1:22   3       just now   private addresses\n", "")
	b.run(t, "vm", "network", "check", "box", "example.org:443").want(t, 0, ""+
		"Destination:  example.org:443\nAnswer:       allowed\nRule:         public\nAddresses:    192.0.2.1\n", "")
	if r := b.run(t, "vm", "network", "check", "--format", "json", "box", "10.0.0.1:22"); r.code != 1 || !strings.Contains(r.out, `"allowed": false`) {
		t.Errorf("%+v", r)
	}
}

func TestAShellNamesPortsThatAppear(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Program = func(g *servertest.Guest) model.ExecStatus {
		vms, _ := b.VMs.List(t.Context())
		b.VMs.Appear(vms[0].ID, 8000)
		fmt.Fprint(g.Stdout, "served")
		// The command lasts until the port was named.
		for end := time.Now().Add(limit); !strings.Contains(b.err.Load().String(), "8000") && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		return model.ExecStatus{}
	}
	r := b.run(t, "vm", "run", "--name", "box", "--", "serve")
	if r.code != 0 || r.err != "banger: port 8000 of box is at http://127.0.0.1:8000/\n" {
		t.Errorf("%+v", r)
	}
}
