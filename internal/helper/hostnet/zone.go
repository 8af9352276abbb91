package hostnet

import (
	"context"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/helper/resolved"
	"banger/internal/model"
)

// Sockets are where this host asks for the names of VMs: port 53 of the gateway, which the rules let nobody else reach.
type Sockets struct {
	UDP *net.UDPConn
	TCP *net.TCPListener
}

// Names are what this host does for the names of VMs.
type Names struct {
	Gateway  netip.Addr // where they are asked for; the zero Addr while there is no bridge
	Resolved bool       // systemd-resolved runs
	Told     bool       // and asks there
}

// ListenNames opens the sockets, which are the caller's. Who answers on them needs no privileges.
func (h *Host) ListenNames(ctx context.Context) (Sockets, error) {
	fail := func(err error) (Sockets, error) {
		return Sockets{}, model.HostErrorf(err, "cannot answer for the names of VMs")
	}
	if err := h.lock(ctx); err != nil {
		return fail(err)
	}
	defer h.unlock()
	_, gateway, err := h.gateway()
	if err != nil {
		return fail(err)
	}
	if !gateway.IsValid() {
		return fail(model.Errorf(model.ErrNotFound, "there is no bridge"))
	}
	at := netip.AddrPortFrom(gateway, dnsPort)
	udp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return fail(err)
	}
	tcp, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
	if err != nil {
		udp.Close()
		return fail(err)
	}
	return Sockets{UDP: udp, TCP: tcp}, nil
}

// TellResolved has systemd-resolved ask there for what is below model.VMDomain, as long as the bridge is there. Where it does not
// run the error is an ErrUnavailable, and nothing is changed.
func (h *Host) TellResolved(ctx context.Context) error {
	fail := func(err error) error {
		return model.HostErrorf(err, "cannot have this host's programs find names below %s", model.VMDomain)
	}
	index, gateway, err := h.gateway()
	if err == nil && !gateway.IsValid() {
		err = model.Errorf(model.ErrNotFound, "there is no bridge")
	}
	if err == nil {
		err = h.resolved().Tell(ctx, resolved.Route{Device: index, Server: gateway, Domain: model.VMDomain})
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// LookNames tells what this host does for the names of VMs.
func (h *Host) LookNames(ctx context.Context) (Names, error) {
	fail := func(err error) (Names, error) {
		return Names{}, model.HostErrorf(err, "cannot tell how this host finds the names of VMs")
	}
	index, gateway, err := h.gateway()
	if err != nil {
		return fail(err)
	}
	n := Names{Gateway: gateway, Resolved: h.resolved().Running(ctx)}
	if n.Resolved && gateway.IsValid() {
		if n.Told, err = h.resolved().Told(ctx, resolved.Route{Device: index, Server: gateway, Domain: model.VMDomain}); err != nil {
			return fail(err)
		}
	}
	return n, nil
}

func (h *Host) resolved() *resolved.Service {
	return resolved.New(h.o.Resolved)
}

// gateway is the bridge's index and address; the zero Addr when there is none.
func (h *Host) gateway() (int, netip.Addr, error) {
	if !h.o.Instance.Valid() {
		return 0, netip.Addr{}, nil // an installation without an id has made nothing
	}
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return 0, netip.Addr{}, err
	}
	defer links.Close()
	br, err := h.findBridge(links)
	if err != nil || br == nil {
		return 0, netip.Addr{}, err
	}
	part, err := rangeOf(links, br)
	if err != nil || !part.IsValid() {
		return 0, netip.Addr{}, err
	}
	return br.Attrs().Index, addressIn(part, 0), nil
}
