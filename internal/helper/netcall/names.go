package netcall

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/hostnet"
	"banger/internal/helper/serve"
	"banger/internal/helper/wire"
	"banger/internal/model"
)

func (s *service) listenNames(ctx context.Context, c serve.Caller, _ *helperv1.ListenNamesRequest) (*helperv1.ListenNamesResponse, []*os.File, error) {
	done, err := s.turns.Take(ctx, c.Instance)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	at, err := s.hosts(c).ListenNames(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer at.UDP.Close()
	defer at.TCP.Close()
	udp, uerr := at.UDP.File()
	tcp, terr := at.TCP.File()
	if err := errors.Join(uerr, terr); err != nil {
		wire.Close([]*os.File{udp, tcp})
		return nil, nil, err
	}
	return &helperv1.ListenNamesResponse{}, []*os.File{udp, tcp}, nil
}

func (s *service) tellResolved(ctx context.Context, c serve.Caller, _ *helperv1.TellResolvedRequest, _ []*os.File) (*helperv1.TellResolvedResponse, error) {
	return &helperv1.TellResolvedResponse{}, s.hosts(c).TellResolved(ctx)
}

func (s *service) lookNames(ctx context.Context, c serve.Caller, _ *helperv1.LookNamesRequest, _ []*os.File) (*helperv1.LookNamesResponse, error) {
	n, err := s.hosts(c).LookNames(ctx)
	return &helperv1.LookNamesResponse{Gateway: n.Gateway.AsSlice(), Resolved: n.Resolved, Told: n.Told}, err
}

// ListenNames is hostnet.Host's.
func (c *Client) ListenNames(ctx context.Context) (hostnet.Sockets, error) {
	got, err := c.wire.Ask(ctx, &helperv1.ListenNamesRequest{}, &helperv1.ListenNamesResponse{}, 2)
	if err != nil {
		return hostnet.Sockets{}, err
	}
	defer wire.Close(got) // the sockets have descriptors of their own
	udp, uerr := net.FilePacketConn(got[0])
	tcp, terr := net.FileListener(got[1])
	if err := errors.Join(uerr, terr); err != nil {
		closeAll(udp, tcp)
		return hostnet.Sockets{}, model.HostErrorf(err, "cannot answer for the names of VMs")
	}
	datagrams, isUDP := udp.(*net.UDPConn)
	connections, isTCP := tcp.(*net.TCPListener)
	if !isUDP || !isTCP {
		closeAll(udp, tcp)
		return hostnet.Sockets{}, model.Errorf(model.ErrInvalid, "banger's helper handed over sockets of other kinds")
	}
	return hostnet.Sockets{UDP: datagrams, TCP: connections}, nil
}

// closeAll closes what there is of some.
func closeAll(all ...io.Closer) {
	for _, c := range all {
		if c != nil {
			_ = c.Close()
		}
	}
}

// TellResolved is hostnet.Host's.
func (c *Client) TellResolved(ctx context.Context) error {
	return c.wire.Call(ctx, &helperv1.TellResolvedRequest{}, &helperv1.TellResolvedResponse{})
}

// LookNames is hostnet.Host's.
func (c *Client) LookNames(ctx context.Context) (hostnet.Names, error) {
	var answer helperv1.LookNamesResponse
	if err := c.wire.Call(ctx, &helperv1.LookNamesRequest{}, &answer); err != nil {
		return hostnet.Names{}, err
	}
	gateway, _ := netip.AddrFromSlice(answer.GetGateway())
	return hostnet.Names{Gateway: gateway, Resolved: answer.GetResolved(), Told: answer.GetTold()}, nil
}
