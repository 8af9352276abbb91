package netd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	netdv1 "banger/api/netd/v1"
	"banger/api/netd/v1/netdv1connect"
	"banger/internal/apierror"
	"banger/internal/unixsocket"
	"banger/internal/version"
)

// Protocol is the number of this API. It grows when an older daemon or netd would misunderstand the other.
const Protocol = 4

// maxMessage caps one request. A port with all its forwards and a long policy is far below it.
const maxMessage = 1 << 20

// Server answers the daemon.
type Server struct {
	log  *slog.Logger
	http *http.Server
}

// NewServer returns the control API over a network. life hears who holds it.
func NewServer(n *Network, life *Life, log *slog.Logger) *Server {
	s := &Server{log: log}
	rpc := connect.NewServer(s.observe)
	netdv1connect.RegisterNetdServiceHandler(rpc, &service{network: n, life: life})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, rpc, connecthttp.WithCompressors(), connecthttp.WithReadMaxBytes(maxMessage))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	protocols.SetHTTP1(true) // for curl
	s.http = &http.Server{Handler: mux, Protocols: protocols, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	return s
}

// Serve answers clients of our own user on l until Close.
func (s *Server) Serve(l net.Listener) error { return s.http.Serve(unixsocket.SameUser(l, s.log)) }

// Close ends every request.
func (s *Server) Close() error { return s.http.Close() }

// observe turns a panic into its request's error, and errors into what travels.
func (s *Server) observe(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
		defer func() {
			if p := recover(); p != nil {
				s.log.Error("request panicked", "call", spec.Procedure, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				err = fmt.Errorf("internal error: %v", p)
			}
			if err != nil && ctx.Err() == nil {
				s.log.Info("request failed", "call", spec.Procedure, "error", err)
			}
			err = apierror.ToRPC(err)
		}()
		return next(ctx, spec, stream)
	}
}

type service struct {
	network *Network
	life    *Life
}

func (s *service) Hello(context.Context, *netdv1.HelloRequest) (*netdv1.HelloResponse, error) {
	return &netdv1.HelloResponse{Protocol: Protocol, Version: version.Version, Pid: int32(os.Getpid())}, nil
}

func (s *service) Hold(ctx context.Context, _ *netdv1.HoldRequest, stream netdv1connect.NetdServiceHoldServerStream) error {
	release := s.life.Hold()
	defer release()
	if err := stream.Send(&netdv1.HoldResponse{}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (s *service) Set(ctx context.Context, r *netdv1.SetRequest) (*netdv1.SetResponse, error) {
	if r.GetPort().GetDirect() {
		return s.publish(ctx, r.GetPort())
	}
	config, forwards, err := configOf(r.GetPort())
	if err != nil {
		return nil, err
	}
	t, err := toldOf(r.GetPort().GetTap())
	if err != nil {
		return nil, err
	}
	taken, err := s.network.Set(config, forwards)
	if err != nil {
		return nil, err
	}
	s.network.tellTap(config.ID, t)
	res := &netdv1.SetResponse{WantsTap: s.network.wantsTap(config.ID)}
	for _, f := range taken {
		res.Forwards = append(res.Forwards, forwardMessage(f))
	}
	return res, nil
}

func (s *service) publish(ctx context.Context, m *netdv1.Port) (*netdv1.SetResponse, error) {
	p, err := publicationOf(m)
	if err != nil {
		return nil, err
	}
	there, err := s.network.Publish(p)
	if err != nil {
		return nil, err
	}
	s.network.Remind(ctx, m.GetVmId())
	res := &netdv1.SetResponse{Doors: doorMessages(there.Doors)}
	for _, f := range there.Forwards {
		res.Forwards = append(res.Forwards, forwardMessage(f))
	}
	return res, nil
}

func (s *service) Clear(_ context.Context, r *netdv1.ClearRequest) (*netdv1.ClearResponse, error) {
	s.network.Clear(r.GetVmId())
	return &netdv1.ClearResponse{}, nil
}

func (s *service) Keep(_ context.Context, r *netdv1.KeepRequest) (*netdv1.KeepResponse, error) {
	s.network.Keep(r.GetVmIds())
	return &netdv1.KeepResponse{}, nil
}

func (s *service) List(context.Context, *netdv1.ListRequest) (*netdv1.ListResponse, error) {
	res := &netdv1.ListResponse{}
	for _, a := range s.network.List() {
		m := &netdv1.Attachment{VmId: a.ID, Name: a.Name}
		for _, f := range a.Forwards {
			m.Forwards = append(m.Forwards, forwardMessage(f))
		}
		res.Attachments = append(res.Attachments, m)
	}
	return res, nil
}

func (s *service) Denied(_ context.Context, r *netdv1.DeniedRequest) (*netdv1.DeniedResponse, error) {
	refused, err := refusedOf(r.GetRefused())
	if err != nil {
		return nil, err
	}
	list, err := s.network.Denied(r.GetVmId(), refused)
	if err != nil {
		return nil, err
	}
	res := &netdv1.DeniedResponse{}
	for _, d := range list {
		res.Denials = append(res.Denials, denialMessage(d))
	}
	return res, nil
}

func (s *service) Check(ctx context.Context, r *netdv1.CheckRequest) (*netdv1.CheckResponse, error) {
	verdict, addrs, err := s.network.Check(ctx, r.GetVmId(), r.GetDestination())
	if err != nil {
		return nil, err
	}
	res := &netdv1.CheckResponse{Allowed: verdict.Allowed, Rule: verdict.Rule}
	for _, a := range addrs {
		res.Addresses = append(res.Addresses, a.String())
	}
	return res, nil
}
