package client

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	bangerv1 "banger/api/banger/v1"
)

// Port is a port of a guest on the host.
type Port struct {
	HostIP    string `json:"host_ip"`
	HostPort  int    `json:"host_port"` // 0 for any free one, of a VM that does not run
	GuestPort int    `json:"guest_port"`
	Protocol  string `json:"protocol"`  // tcp or udp
	Auto      bool   `json:"auto"`      // it is there because the guest listens, and goes with that
	HostName  string `json:"host_name"` // by which this host's programs find the address; "" where there is no such name
	URL       string `json:"url"`       // for a browser; "" of a udp port, and of one that is not there yet
}

// Denial is one destination that a guest wanted and did not get.
type Denial struct {
	Protocol    string    `json:"protocol"` // tcp, udp, icmp, dns
	Destination string    `json:"destination"`
	Rule        string    `json:"rule"` // what said no
	Count       uint64    `json:"count"`
	Last        time.Time `json:"last"`
}

// Verdict is what a VM's policy says of one destination.
type Verdict struct {
	Destination string   `json:"destination"`
	Allowed     bool     `json:"allowed"`
	Rule        string   `json:"rule"`      // what decided
	Addresses   []string `json:"addresses"` // what the name stands for
}

// NetworkChange is what is to be different in what a VM may reach.
type NetworkChange struct {
	Policy         string // "" for the one it has
	OpenHostPorts  []int  // of the host's loopback, for the guest to reach; those that are open stay so
	CloseHostPorts []int  // likewise, to reach no longer
}

// SetNetwork changes what a VM may reach, at once when it runs. When it fails, all of it is as before.
func (c *Client) SetNetwork(ctx context.Context, id string, change NetworkChange) error {
	_, err := c.networks.SetNetwork(ctx, &bangerv1.SetNetworkRequest{
		Id: id, Policy: change.Policy, OpenHostPorts: portNumbers(change.OpenHostPorts), CloseHostPorts: portNumbers(change.CloseHostPorts),
	})
	return plain(ctx, err)
}

func portNumbers(ports []int) []uint32 {
	var all []uint32
	for _, p := range ports {
		all = append(all, uint32(p))
	}
	return all
}

// AddPort publishes a port of a VM and returns it with the host's port that was taken.
func (c *Client) AddPort(ctx context.Context, id string, p Port) (Port, error) {
	res, err := c.networks.AddPort(ctx, &bangerv1.AddPortRequest{Id: id, Port: portMessage(p)})
	return portValue(res.GetPort()), plain(ctx, err)
}

// RemovePort takes the published ports of a guest's port away, or, with a host port, that one. It returns them.
func (c *Client) RemovePort(ctx context.Context, id string, guestPort, hostPort int, udp bool) ([]Port, error) {
	res, err := c.networks.RemovePort(ctx, &bangerv1.RemovePortRequest{
		Id: id, GuestPort: uint32(guestPort), HostPort: uint32(hostPort), Udp: udp,
	})
	return portValues(res.GetPorts()), plain(ctx, err)
}

// Ports lists a VM's ports.
func (c *Client) Ports(ctx context.Context, id string) ([]Port, error) {
	res, err := c.networks.ListPorts(ctx, &bangerv1.ListPortsRequest{Id: id})
	return portValues(res.GetPorts()), plain(ctx, err)
}

// WatchPorts calls report with a VM's ports, at once and again after each change, until the VM no longer runs, ctx ends or
// report returns an error, which is returned as it is.
func (c *Client) WatchPorts(ctx context.Context, id string, report func([]Port) error) error {
	stream, err := c.networks.WatchPorts(ctx, &bangerv1.WatchPortsRequest{Id: id})
	if err != nil {
		return plain(ctx, err)
	}
	defer stream.Close()
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return plain(ctx, err)
		}
		if err := report(portValues(m.GetPorts())); err != nil {
			return err
		}
	}
}

// Denied lists what a VM's policy refused lately, newest first.
func (c *Client) Denied(ctx context.Context, id string) ([]Denial, error) {
	res, err := c.networks.Denied(ctx, &bangerv1.DeniedRequest{Id: id})
	if err != nil {
		return nil, plain(ctx, err)
	}
	all := []Denial{}
	for _, m := range res.GetDenials() {
		all = append(all, Denial{
			Protocol: m.GetProtocol(), Destination: m.GetDestination(), Rule: m.GetRule(), Count: m.GetCount(), Last: instant(m.GetLast()),
		})
	}
	return all, nil
}

// Check asks a VM's policy about one destination, host:port.
func (c *Client) Check(ctx context.Context, id, destination string, udp bool) (Verdict, error) {
	res, err := c.networks.Check(ctx, &bangerv1.CheckRequest{Id: id, Destination: destination, Udp: udp})
	if err != nil {
		return Verdict{}, plain(ctx, err)
	}
	return Verdict{Destination: destination, Allowed: res.GetAllowed(), Rule: res.GetRule(), Addresses: list(res.GetAddresses())}, nil
}

func portMessage(p Port) *bangerv1.Port {
	return &bangerv1.Port{HostIp: p.HostIP, HostPort: uint32(p.HostPort), GuestPort: uint32(p.GuestPort), Udp: p.Protocol == "udp"}
}

func portMessages(ports []Port) []*bangerv1.Port {
	var all []*bangerv1.Port
	for _, p := range ports {
		all = append(all, portMessage(p))
	}
	return all
}

func portValue(m *bangerv1.Port) Port {
	p := Port{HostIP: m.GetHostIp(), HostPort: int(m.GetHostPort()), GuestPort: int(m.GetGuestPort()), Protocol: "tcp", Auto: m.GetAuto(), HostName: m.GetHostName()}
	if m.GetUdp() {
		p.Protocol = "udp"
	}
	if p.Protocol == "tcp" && p.HostPort != 0 {
		p.URL = urlOf(p)
	}
	return p
}

// urlOf is where a browser finds the port. Nothing is known of what speaks there but the guest's port number.
func urlOf(p Port) string {
	scheme := "http"
	if p.GuestPort == 443 || p.GuestPort == 8443 {
		scheme = "https"
	}
	host := p.HostIP
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(cmp.Or(p.HostName, host), strconv.Itoa(p.HostPort)) + "/"
}

func portValues(ms []*bangerv1.Port) []Port {
	all := []Port{}
	for _, m := range ms {
		all = append(all, portValue(m))
	}
	return all
}

func numbers(ports []uint32) []int {
	all := []int{}
	for _, p := range ports {
		all = append(all, int(p))
	}
	return all
}
