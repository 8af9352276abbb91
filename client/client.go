package client

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/unixsocket"
	"banger/internal/version"
)

// Options say how to reach the daemon. The zero value connects to the one of this user and does not start any.
type Options struct {
	Dirs      dirs.Dirs         // where its files are; the zero value stands for what the environment says
	Autostart bool              // start a daemon when none runs
	Daemon    string            // its program, for Autostart; "" for the one that belongs to this program
	Log       func(line string) // hears what the user should know, such as a daemon of another version; nil for nobody
}

// Client is a connection to the daemon.
type Client struct {
	options   Options
	transport *http.Transport
	peer      atomic.Int64 // the daemon's process id
	warned    sync.Once

	mu    sync.Mutex
	conns []net.Conn // to be closed; one, unless the daemon was restarted

	vms        bangerv1connect.VMServiceClient
	networks   bangerv1connect.NetworkServiceClient
	files      bangerv1connect.FileServiceClient
	workspaces bangerv1connect.WorkspaceServiceClient
	images     bangerv1connect.ImageServiceClient
	kernels    bangerv1connect.KernelServiceClient
	operations bangerv1connect.OperationServiceClient
	daemon     bangerv1connect.DaemonServiceClient
}

// Dial connects to the daemon. Without Autostart, ErrUnavailable says that none runs.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if o.Dirs == (dirs.Dirs{}) {
		var err error
		if o.Dirs, err = dirs.Default(); err != nil {
			return nil, err
		}
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	c := &Client{options: o}
	for attempt := 1; ; attempt++ {
		conn, err := c.connect(ctx)
		switch {
		case notRunning(err) && o.Autostart:
			conn, err = c.start(ctx)
		case notRunning(err):
			err = model.Errorf(model.ErrUnavailable, "no daemon is running")
		}
		if err != nil {
			return nil, err
		}
		c.serveOver(conn)
		// A daemon that is being killed still has a socket to connect to: only its answer tells that it lives.
		_, err = c.daemon.Ping(ctx, &bangerv1.PingRequest{})
		if err == nil || connect.CodeOf(err) == connect.CodeUnimplemented || attempt == maxDials || ctx.Err() != nil {
			return c, nil //nolint:nilerr // whatever else is wrong, the caller's call tells
		}
		c.transport.CloseIdleConnections()
	}
}

// maxDials is how many dying daemons in a row Dial gets over; what the last one answers is for the caller's call to say.
const maxDials = 5

// Close ends the connection: commands that this client is attached to lose it, and so do its leases. Twice is fine.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close() // those that were idle are closed already
	}
	c.conns = nil
	return nil
}

// connect dials the socket once, and trusts it only when it is our own user's.
func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	if err := c.options.Dirs.CheckState(); err != nil {
		return nil, err
	}
	conn, err := unixsocket.Dial(ctx, c.options.Dirs.Socket())
	if err != nil {
		return nil, err
	}
	uid, pid, err := unixsocket.PeerCred(conn)
	if err == nil && int(uid) != os.Geteuid() {
		err = model.Errorf(model.ErrDenied, "cannot use %s: the daemon there belongs to uid %d", c.options.Dirs.Socket(), uid)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	c.peer.Store(int64(pid))
	return conn, nil
}

// notRunning says whether err means that nobody listens.
func notRunning(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// serveOver builds the services over conn, and over new connections should that one break.
func (c *Client) serveOver(conn net.Conn) {
	first := make(chan net.Conn, 1)
	first <- conn
	c.keep(conn)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	c.transport = &http.Transport{
		Protocols:          protocols,
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case conn := <-first:
				return conn, nil
			default:
			}
			conn, err := c.connect(ctx)
			if err == nil {
				c.keep(conn)
			}
			return conn, err
		},
	}
	rpc := connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: c.transport}, "http://bangerd",
		connecthttp.WithCompressors(), connecthttp.WithReadMaxBytes(256<<20)), c.introduce)
	c.vms = bangerv1connect.NewVMServiceClient(rpc)
	c.networks = bangerv1connect.NewNetworkServiceClient(rpc)
	c.files = bangerv1connect.NewFileServiceClient(rpc)
	c.workspaces = bangerv1connect.NewWorkspaceServiceClient(rpc)
	c.images = bangerv1connect.NewImageServiceClient(rpc)
	c.kernels = bangerv1connect.NewKernelServiceClient(rpc)
	c.operations = bangerv1connect.NewOperationServiceClient(rpc)
	c.daemon = bangerv1connect.NewDaemonServiceClient(rpc)
}

func (c *Client) keep(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, conn)
}

// introduce is the interceptor that says who asks, and warns once when another version answers.
func (c *Client) introduce(next connect.ClientFunc) connect.ClientFunc {
	return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
		info, _ := connect.CallInfoForClientContext(ctx)
		info.RequestHeader().Set(version.HeaderVersion, version.Version)
		info.RequestHeader().Set(version.HeaderProtocol, strconv.Itoa(version.API))
		stream, err := next(ctx, spec)
		if err != nil {
			return nil, err
		}
		return &checkedStream{ClientStream: stream, check: func() { c.checkVersion(info) }}, nil
	}
}

func (c *Client) checkVersion(info *connect.CallInfo) {
	theirs := info.ResponseHeader().Get(version.HeaderVersion)
	if theirs == "" || theirs == version.Version {
		return
	}
	c.warned.Do(func() {
		c.options.Log("the daemon is version " + theirs + ", this command is " + version.Version +
			"; to bring them together run: banger daemon restart; running VMs stay")
	})
}

type checkedStream struct {
	connect.ClientStream
	check func()
}

func (s *checkedStream) Receive(msg any) error {
	err := s.ClientStream.Receive(msg)
	if err == nil {
		s.check()
	}
	return err
}
