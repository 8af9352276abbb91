package cli

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"banger/client"
	"banger/internal/model"
)

// hostName is how a guest reaches the ports of the host that were opened to it.
const hostName = "host.banger.internal"

// networkFlags describe a new VM's network; run and create share them.
type networkFlags struct {
	policy    policyFlag
	publish   publishFlag
	ports     autoFlag
	hostPorts hostPortsFlag
	proxy     bool
	ca        bool
}

func addNetwork(cmd *cobra.Command, f *networkFlags) {
	fs := cmd.Flags()
	fs.Var(&f.policy, "network", "what the VM may reach: none, public, open, or a list (default "+model.DefaultPolicy+")")
	fs.VarP(&f.publish, "publish", "p", "publish a port of the VM on the host, `[IP:]HOST:GUEST[/udp]`; HOST 0 is any free one")
	fs.Var(&f.ports, "ports", "have what listens in the VM appear on the host: auto or none (default auto for a VM that stays or a shell)")
	fs.Var(&f.hostPorts, "host-port", "let the VM reach this port of our loopback, as "+hostName)
	fs.BoolVar(&f.proxy, "proxy", false, "give the VM our proxy variables")
	fs.BoolVar(&f.ca, "ca", false, "have the VM trust the certificate authorities that were added to this host")
	complete(cmd, "network", model.PolicyPublic, model.PolicyNone, model.PolicyOpen)
	complete(cmd, "ports", string(portsAuto), string(portsNone))
}

// apply puts the flags into a request. auto is what --ports means when it is not given.
func (f *networkFlags) apply(a *app, r *client.CreateRequest, auto bool) error {
	r.Network, r.CA = string(f.policy), f.ca
	for _, p := range f.publish {
		r.Ports = append(r.Ports, portOf(p))
	}
	if f.ports != "" {
		auto = f.ports == portsAuto
	}
	none := r.Network == model.PolicyNone
	r.PortsAuto = auto && !none
	switch {
	case none && f.ports == portsAuto:
		return usagef("--network none has no automatic ports: leave --ports auto out, or publish with -p")
	case none && len(f.hostPorts) > 0:
		return usagef("--network none reaches nothing: leave --host-port out, or choose another network")
	case none && f.proxy:
		return usagef("--network none reaches no proxy: leave --proxy out, or choose another network")
	}
	r.HostPorts = slices.Clone(f.hostPorts)
	if !f.proxy {
		return nil
	}
	env, ports, err := a.proxyVariables()
	if err != nil {
		return err
	}
	// What -e says counts more.
	r.Proxy, r.Env = true, append(env, r.Env...)
	for _, p := range ports {
		if !slices.Contains(r.HostPorts, p) {
			r.HostPorts = append(r.HostPorts, p)
		}
	}
	return nil
}

// proxyVariables are ours, for the guest. A proxy on our loopback is another one from there: it gets the name under which
// the guest reaches the host, and its port is one to open.
func (a *app) proxyVariables() (env []string, ports []int, err error) {
	for _, name := range []string{"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"} {
		for _, name := range []string{name, strings.ToUpper(name)} {
			value, set := a.env(name)
			if !set || value == "" {
				continue
			}
			if !strings.EqualFold(name, "no_proxy") {
				var port int
				if value, port, err = fromGuest(name, value); err != nil {
					return nil, nil, err
				}
				if port != 0 && !slices.Contains(ports, port) {
					ports = append(ports, port)
				}
			}
			env = append(env, name+"="+value)
		}
	}
	if len(env) == 0 {
		a.warn("--proxy: no proxy variable is set here, so the VM gets none")
	}
	return env, ports, nil
}

// fromGuest is a proxy's address as the guest must write it, with the port of the host that it needs, or 0.
func fromGuest(name, value string) (string, int, error) {
	text := value
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return "", 0, usagef("--proxy: %s is no address of a proxy", name) // its text may hold a password
	}
	ip := net.ParseIP(u.Hostname())
	if !strings.EqualFold(u.Hostname(), "localhost") && (ip == nil || !ip.IsLoopback()) {
		return value, 0, nil
	}
	port := 80
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil || port < 1 || port > 65535 {
			return "", 0, usagef("--proxy: %s has no possible port", name)
		}
	}
	u.Host = net.JoinHostPort(hostName, strconv.Itoa(port))
	return u.String(), port, nil
}

func portOf(f model.PortForward) client.Port {
	return client.Port{HostIP: f.HostIP.String(), HostPort: int(f.HostPort), GuestPort: int(f.GuestPort), Protocol: f.Protocol()}
}

// policyFlag is a network policy.
type policyFlag string

func (f *policyFlag) Type() string   { return "policy" }
func (f *policyFlag) String() string { return string(*f) }

func (f *policyFlag) Set(text string) error {
	p, err := model.ParsePolicy(text)
	if err == nil {
		*f = policyFlag(p.String())
	}
	return err
}

// publishFlag is a list of ports to publish.
type publishFlag []model.PortForward

func (f *publishFlag) Type() string { return "port" }

func (f *publishFlag) String() string {
	words := mapped(*f, func(p model.PortForward) string { return p.String() })
	return strings.Join(words, " ")
}

func (f *publishFlag) Set(text string) error {
	p, err := model.ParsePort(text)
	if err != nil {
		return err
	}
	all := append(slices.Clone(*f), p)
	if err := model.ValidatePorts(all); err != nil {
		return err
	}
	*f = all
	return nil
}

// hostPortsFlag is a list of ports of the host.
type hostPortsFlag []int

func (f *hostPortsFlag) Type() string { return "port" }

func (f *hostPortsFlag) String() string { return strings.Trim(fmt.Sprint([]int(*f)), "[]") }

func (f *hostPortsFlag) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not a port: a number from 1 to 65535", text)
	}
	if !slices.Contains(*f, int(n)) {
		*f = append(*f, int(n))
	}
	return nil
}

// autoFlag is --ports; "" stands for not given.
type autoFlag string

const (
	portsAuto autoFlag = "auto"
	portsNone autoFlag = "none"
)

func (f *autoFlag) Type() string   { return "auto|none" }
func (f *autoFlag) String() string { return string(*f) }

func (f *autoFlag) Set(text string) error {
	switch v := autoFlag(text); v {
	case portsAuto, portsNone:
		*f = v
		return nil
	}
	return fmt.Errorf("%q is neither auto nor none", text)
}
