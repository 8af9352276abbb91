// Package guest is the host's view of the agent in one running guest.
//
// A guest is hostile: messages are capped, unary answers have deadlines, streams have windows, no lock is held over an
// answer, and what it says is made harmless before it becomes part of an error.
package guest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "banger/api/agent/v1"
	"banger/api/agent/v1/agentv1connect"
	"banger/internal/model"
)

// Protocol is the number of the guest protocol. It grows when an older agent would misunderstand a host.
const Protocol = 1

const (
	// maxMessage caps what one message of a guest may hold.
	maxMessage = 1 << 20
	// streamWindow is what a guest may send on one stream before its reader reads. It must stay below what the agent
	// retains of output already sent, so that nothing is lost when a connection breaks. The connection as a whole has a
	// window that thousands of streams with unread output do not fill: one stalled reader stops nobody else.
	streamWindow = 256 << 10
	// answerTime is what a guest may take for an answer that needs no work.
	answerTime = 10 * time.Second
	// startTime is what it may take to start a command: many at once wait for each other, and an emulated guest is slow.
	startTime = time.Minute
	syncTime  = 2 * time.Minute
)

// Hello is who answers on the other side.
type Hello struct {
	BootID       string // of the guest's kernel
	Generation   int64  // of the last Configure applied; 0 for none
	AgentVersion string
	Protocol     int
	TimerRate    float64 // what its kernel takes its processor's timer to run at, over the true rate; 0 when it cannot tell
}

// Guest is one connection to a guest's agent. It is safe for concurrent use. Commands in the guest outlive it.
type Guest struct {
	conn  *watchedConn
	http  *http.ClientConn
	rpc   agentv1connect.AgentServiceClient
	ports agentv1connect.PortServiceClient
	files agentv1connect.FileServiceClient
	trees agentv1connect.TreeServiceClient
	hello Hello
}

// Connect speaks to the agent over conn, which Guest owns from then on (and closes when Connect fails). It returns
// ErrUnsupported for an agent of another protocol.
func Connect(ctx context.Context, conn net.Conn) (*Guest, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	g, err := connect1(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return g, nil
}

func connect1(ctx context.Context, conn net.Conn) (*Guest, error) {
	watched := &watchedConn{Conn: conn, done: make(chan struct{})}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols:          &protocols,
		DisableCompression: true,
		HTTP2:              &http.HTTP2Config{MaxReceiveBufferPerStream: streamWindow},
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return watched, nil },
	}
	client, err := transport.NewClientConn(ctx, "http", "guest:80")
	if err != nil {
		return nil, model.Errorf(model.ErrUnavailable, "cannot speak to the guest's agent: %w", err)
	}
	g := &Guest{conn: watched, http: client}
	rpc := connect.NewClient(connecthttp.NewTransport(
		doer{client}, "http://guest",
		connecthttp.WithReadMaxBytes(maxMessage),
		connecthttp.WithCompressors(),
		connecthttp.WithCodecs(connectproto.NewBinaryCodec()),
	))
	g.rpc, g.ports = agentv1connect.NewAgentServiceClient(rpc), agentv1connect.NewPortServiceClient(rpc)
	g.files, g.trees = agentv1connect.NewFileServiceClient(rpc), agentv1connect.NewTreeServiceClient(rpc)
	answer, err := g.rpc.Hello(ctx, &agentv1.HelloRequest{})
	if err != nil {
		g.Close()
		return nil, fromRPC("cannot greet the guest's agent", err)
	}
	g.hello = Hello{
		BootID: plain(answer.GetBootId(), 64), Generation: answer.GetGeneration(),
		AgentVersion: plain(answer.GetAgentVersion(), 64), Protocol: int(answer.GetProtocol()),
		TimerRate: answer.GetTimerRate(),
	}
	if g.hello.Protocol != Protocol {
		g.Close()
		return nil, model.Errorf(model.ErrUnsupported, "cannot use the VM's agent: it speaks protocol %d, this banger %d; stop and start the VM", g.hello.Protocol, Protocol)
	}
	return g, nil
}

// Hello returns what the agent said of itself when the connection was made.
func (g *Guest) Hello() Hello { return g.hello }

// Done is closed when the connection has ended.
func (g *Guest) Done() <-chan struct{} { return g.conn.done }

// Close ends the connection; twice is fine. Commands go on in the guest.
func (g *Guest) Close() error {
	err := g.http.Close()
	return errors.Join(err, g.conn.Close())
}

// Sync returns when what the guest had written is on its disks.
func (g *Guest) Sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	_, err := g.rpc.Sync(ctx, &agentv1.SyncRequest{})
	return fromRPC("cannot sync the guest's disks", err)
}

// Stop asks the guest to end in good order: process 1 in its own convention, then TERM, KILL, sync and power off within
// grace. It returns once the guest has acknowledged or the connection has ended; the VMM's death is seen elsewhere.
func (g *Guest) Stop(ctx context.Context, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_, err := g.rpc.Stop(ctx, &agentv1.StopRequest{Grace: durationpb.New(grace)})
	select {
	case <-g.Done():
		return nil
	default:
		return fromRPC("cannot ask the guest to stop", err)
	}
}

// Ping sends payload to the agent and returns what comes back: one round trip.
func (g *Guest) Ping(ctx context.Context, payload []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answer, err := g.rpc.Ping(ctx, &agentv1.PingRequest{Payload: payload})
	return answer.GetPayload(), fromRPC("cannot ping the guest", err)
}

// Measure runs a command rounds times in a row, without any output, and returns what fork, exec and wait took each time
// by the agent's own clock.
func (g *Guest) Measure(ctx context.Context, spec model.ExecSpec, rounds int) ([]time.Duration, error) {
	answer, err := g.rpc.Measure(ctx, &agentv1.MeasureRequest{Command: command(spec, false), Rounds: uint32(rounds)})
	if err != nil {
		return nil, fromRPC("cannot measure a command in the guest", err)
	}
	var took []time.Duration
	for _, ns := range answer.GetNanoseconds() {
		took = append(took, time.Duration(ns))
	}
	return took, nil
}

// doer makes a ClientConn fit connecthttp.
type doer struct{ conn *http.ClientConn }

func (d doer) Do(r *http.Request) (*http.Response, error) { return d.conn.RoundTrip(r) }

// watchedConn tells when a connection has ended.
type watchedConn struct {
	net.Conn
	once sync.Once
	done chan struct{}
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.Close()
	}
	return n, err
}

// Close ends the connection; the second time it does nothing.
func (c *watchedConn) Close() error {
	var err error
	c.once.Do(func() {
		err = c.Conn.Close()
		close(c.done)
	})
	return err
}
