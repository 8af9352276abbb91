// Package agent is what runs inside a guest: it serves the guest protocol to the host.
//
// Commands belong to the agent, not to a connection: the process table outlives connections, each output is kept in a
// capped ring, and a host that was restarted attaches again where it left off. What touches the operating system is behind
// System, so that the same agent runs over a fake one in tests of the host's side.
package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"

	"banger/api/agent/v1/agentv1connect"
	"banger/internal/apierror"
)

// Protocol is the number of the guest protocol that this agent speaks.
const Protocol = 1

const (
	// maxMessage caps one message of the host: a command's arguments and environment fit in it.
	maxMessage = 4 << 20
	// maxStreams is far above the process table's cap, so that a full table is told as such.
	maxStreams = 3 * maxLive
	// streamWindow is what a host may send on one stream before it is read: some round trips' worth.
	streamWindow = 1 << 20
)

// Agent is the state of one guest's agent. It is safe for concurrent use.
type Agent struct {
	sys     System
	version string
	table   *table
	mux     *http.ServeMux

	configuring sync.Mutex  // held while the system is configured
	stopping    atomic.Bool // the system is told to stop

	mu     sync.Mutex
	config Config // the last one applied; its Generation is 0 before the first
}

// New returns an agent for sys. version is what it tells hosts of itself.
func New(sys System, version string) *Agent {
	a := &Agent{sys: sys, version: version, table: newTable(), mux: http.NewServeMux()}
	server := connect.NewServer()
	agentv1connect.RegisterAgentServiceHandler(server, a)
	agentv1connect.RegisterPortServiceHandler(server, portService{a})
	copies := &files{sys: sys, agent: a, slots: make(chan struct{}, maxCopies)}
	agentv1connect.RegisterFileServiceHandler(server, copies)
	agentv1connect.RegisterTreeServiceHandler(server, &trees{copies})
	connecthttp.Mount(a.mux, server,
		connecthttp.WithReadMaxBytes(maxMessage),
		connecthttp.WithCompressors(),
		connecthttp.WithCodecs(connectproto.NewBinaryCodec()),
	)
	return a
}

// ServeConn serves one connection until it ends or ctx does, and closes it. Several may be served at once.
func (a *Agent) ServeConn(ctx context.Context, conn net.Conn) error {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	listener := newOneListener(conn)
	server := &http.Server{
		Handler:   a.mux,
		Protocols: &protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			// A copy that waits for a disk must not take what the others' input travels in.
			MaxReceiveBufferPerStream:     streamWindow,
			MaxReceiveBufferPerConnection: (maxCopies + 1) * streamWindow,
		},
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				listener.Close()
			}
		},
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	err := server.Serve(listener)
	server.Close()
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return ctx.Err()
	}
	return err
}

func (a *Agent) current() Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.config
}

// verdict is how errors travel: with their kind and their text, the host being the one the agent works for.
func verdict(err error) error { return apierror.ToRPC(err) }

// oneListener yields one connection and then blocks until it is closed.
type oneListener struct {
	addr net.Addr
	next chan net.Conn
	once sync.Once
	done chan struct{}
}

func newOneListener(conn net.Conn) *oneListener {
	l := &oneListener{addr: conn.LocalAddr(), next: make(chan net.Conn, 1), done: make(chan struct{})}
	l.next <- conn
	return l
}

func (l *oneListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.next:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *oneListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *oneListener) Addr() net.Addr { return l.addr }
