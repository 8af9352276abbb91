package user

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	netdv1 "banger/api/netd/v1"
	"banger/api/netd/v1/netdv1connect"
	"banger/internal/apierror"
	"banger/internal/model"
	"banger/internal/unixsocket"
)

// protocol is the number of the API that this driver speaks with netd.
const protocol = 4

// maxMessage caps one answer of netd; the longest is a list of 256 denials.
const maxMessage = 1 << 20

// netd is a connection to a netd that lives, and the hold on it.
type netd struct {
	rpc       netdv1connect.NetdServiceClient
	transport *http.Transport
	pid       int // by the kernel's word
	hello     *netdv1.HelloResponse

	mu   sync.Mutex
	conn net.Conn
	gone chan struct{} // closed when the hold has ended
}

// dialNetd connects to the netd that listens on path and greets it. With an error, a netd that is returned was there and
// did not greet; it is closed.
func dialNetd(ctx context.Context, path string) (*netd, error) {
	conn, err := unixsocket.Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	only := &onlyConn{Conn: conn, closed: make(chan struct{})}
	n := &netd{conn: only, gone: make(chan struct{})}
	if _, n.pid, err = unixsocket.PeerCred(conn); err != nil {
		conn.Close()
		return nil, err
	}
	first := make(chan net.Conn, 1)
	first <- only
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	n.transport = &http.Transport{
		Protocols: &protocols, DisableCompression: true,
		// Another netd would know nothing of what this one was told. Who asks for a second connection may do so a moment before
		// the first is said to be free, and gets that one then.
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case conn := <-first:
				return conn, nil
			case <-only.closed:
				return nil, errGone
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		},
	}
	n.rpc = netdv1connect.NewNetdServiceClient(connect.NewClient(connecthttp.NewTransport(
		&http.Client{Transport: n.transport}, "http://netd", connecthttp.WithCompressors(), connecthttp.WithReadMaxBytes(maxMessage),
	)))
	if n.hello, err = n.rpc.Hello(ctx, &netdv1.HelloRequest{}); err != nil {
		n.close()
		if n.dead(err) {
			err = errGone
		}
		return n, fmt.Errorf("banger-netd does not answer: %w", err)
	}
	return n, nil
}

// onlyConn is a connection that tells that it was closed, which is what becomes of one whose other end is gone.
type onlyConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *onlyConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

var errGone = errors.New("banger-netd is gone")

// hold keeps netd alive without VMs until it ends, or the connection is closed.
func (n *netd) hold(ctx context.Context) error {
	stream, err := n.rpc.Hold(ctx, &netdv1.HoldRequest{})
	if err == nil {
		_, err = stream.Receive()
	}
	if err != nil {
		close(n.gone)
		return err
	}
	go func() {
		defer close(n.gone)
		defer stream.Close()
		for {
			if _, err := stream.Receive(); err != nil {
				return
			}
		}
	}()
	return nil
}

func (n *netd) close() {
	n.mu.Lock()
	conn := n.conn
	n.conn = nil
	n.mu.Unlock()
	if conn != nil {
		conn.Close()
		n.transport.CloseIdleConnections()
	}
}

// dead says whether an error of a call means that this netd is no more, and not that it refused.
func (n *netd) dead(err error) bool {
	var verdict *connect.Error
	if errors.As(err, &verdict) && verdict.IsRemote() {
		return false
	}
	return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// fromRPC words an error of netd's for the user, with its kind.
func fromRPC(doing string, err error) error {
	if err == nil {
		return nil
	}
	var verdict *connect.Error
	if errors.As(err, &verdict) && verdict.IsRemote() {
		return apierror.FromRPC(err)
	}
	if model.KindOf(err) == nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return model.Errorf(model.ErrUnavailable, "%s: banger-netd cannot be reached: %w", doing, err)
	}
	return model.HostErrorf(err, "%s", doing)
}
