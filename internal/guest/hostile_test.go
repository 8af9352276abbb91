package guest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	agentv1 "banger/api/agent/v1"
	"banger/api/agent/v1/agentv1connect"
	"banger/internal/guest"
	"banger/internal/model"
)

// liar is an agent that answers as its fields say.
type liar struct {
	agentv1connect.UnimplementedAgentServiceHandler
	hello  *agentv1.HelloResponse
	ping   []byte
	attach func(agentv1connect.AgentServiceAttachServerStream) error
	sync   error
	files  *lister // nil for none
}

func (l *liar) Hello(context.Context, *agentv1.HelloRequest) (*agentv1.HelloResponse, error) {
	return l.hello, nil
}

func (l *liar) Ping(context.Context, *agentv1.PingRequest) (*agentv1.PingResponse, error) {
	return &agentv1.PingResponse{Payload: l.ping}, nil
}

func (l *liar) Sync(context.Context, *agentv1.SyncRequest) (*agentv1.SyncResponse, error) {
	return &agentv1.SyncResponse{}, l.sync
}

func (l *liar) Attach(_ context.Context, s agentv1connect.AgentServiceAttachServerStream) error {
	return l.attach(s)
}

// serve returns a connection to l, whose server ends with the test.
func serve(t *testing.T, l *liar) net.Conn {
	t.Helper()
	rpc := connect.NewServer()
	agentv1connect.RegisterAgentServiceHandler(rpc, l)
	if l.files != nil {
		agentv1connect.RegisterFileServiceHandler(rpc, l.files)
	}
	mux := http.NewServeMux()
	connecthttp.Mount(mux, rpc)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: mux, Protocols: &protocols}
	listener, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	conn, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func truth() *agentv1.HelloResponse {
	return &agentv1.HelloResponse{Protocol: guest.Protocol, BootId: "b"}
}

func connected(t *testing.T, l *liar) *guest.Guest {
	t.Helper()
	g, err := guest.Connect(t.Context(), serve(t, l))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func TestAnotherProtocolIsRefused(t *testing.T) {
	t.Parallel()
	hello := truth()
	hello.Protocol++
	conn := serve(t, &liar{hello: hello})
	if _, err := guest.Connect(t.Context(), conn); !errors.Is(err, model.ErrUnsupported) {
		t.Errorf("Connect: %v, want ErrUnsupported", err)
	}
	if _, err := conn.Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection stays open: %v", err)
	}
}

func TestHelloIsMadeHarmless(t *testing.T) {
	t.Parallel()
	hello := truth()
	hello.BootId, hello.AgentVersion = "\x1b[31m"+strings.Repeat("x", 10_000), "a\nb\u202e\u009b"
	g := connected(t, &liar{hello: hello})
	if got := g.Hello(); len(got.BootID) > 64 || strings.ContainsAny(got.BootID+got.AgentVersion, "\x1b\n\u202e\u009b") {
		t.Errorf("Hello = %+q", []string{got.BootID, got.AgentVersion})
	}
}

func TestRubbishIsNoAgent(t *testing.T) {
	t.Parallel()
	for name, say := range map[string]string{
		"nothing":      "",
		"text":         "HTTP/1.1 200 OK\r\n\r\n",
		"binary":       strings.Repeat("\x00\xff", 50_000),
		"a huge frame": "\xff\xff\xff\x00\x00\x00\x00\x00\x01",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := socketpair(t)
			talked := make(chan struct{})
			go func() {
				defer close(talked)
				io.ReadFull(theirs, make([]byte, 24)) // HTTP/2's first words
				io.WriteString(theirs, say)
				theirs.Close()
			}()
			if _, err := guest.Connect(t.Context(), ours); err == nil {
				t.Error("Connect succeeded")
			}
			<-talked
		})
	}
}

func TestSilentGuestIsGivenUpOn(t *testing.T) {
	t.Parallel()
	ours, theirs := socketpair(t)
	defer theirs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := guest.Connect(ctx, ours); !errors.Is(err, model.ErrTimeout) {
		t.Errorf("Connect: %v, want ErrTimeout", err)
	}
}

func TestLargeAnswerIsRefused(t *testing.T) {
	t.Parallel()
	g := connected(t, &liar{hello: truth(), ping: make([]byte, 2<<20)})
	if _, err := g.Ping(t.Context(), nil); err == nil {
		t.Error("an answer of 2 MiB was taken")
	}
}

func TestErrorsOfAGuestAreMadeHarmless(t *testing.T) {
	t.Parallel()
	text := "no \x1b]0;title\x07 space\n" + strings.Repeat("x", 10_000)
	g := connected(t, &liar{hello: truth(), sync: connect.NewError(connect.CodeResourceExhausted, text)})
	err := g.Sync(t.Context())
	if !errors.Is(err, model.ErrNoSpace) || strings.ContainsAny(err.Error(), "\x1b\x07\n") || len(err.Error()) > 2000 {
		t.Errorf("Sync: %q", err)
	}
}

func TestLyingStreams(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		messages []*agentv1.AttachResponse
		want     error
	}{
		{"output counted backwards", []*agentv1.AttachResponse{{}, {Stdout: []byte("ab")}, {Stdout: []byte("c"), StdoutOffset: 1}}, model.ErrCorrupt},
		{"an end without end", []*agentv1.AttachResponse{{}, {Stdout: []byte("ab")}}, model.ErrUnavailable},
		{"a large message", []*agentv1.AttachResponse{{}, {Stdout: make([]byte, 2<<20)}}, model.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := connected(t, &liar{hello: truth(), attach: func(s agentv1connect.AgentServiceAttachServerStream) error {
				for _, m := range c.messages {
					if err := s.Send(m); err != nil {
						return err
					}
				}
				return nil
			}})
			a, err := g.Exec(t.Context(), "x", model.ExecSpec{Argv: []string{"x"}}, false)
			for err == nil {
				_, err = a.Recv()
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if a != nil { // the lie may have come with the first answer
				a.Close()
			}
		})
	}
}
