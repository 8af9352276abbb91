package netcall_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"banger/internal/helper/hostnet"
	"banger/internal/helper/netcall"
	"banger/internal/helper/serve/servetest"
	"banger/internal/model"
)

// TestWhereNamesAreAskedForIsHandedOver has sockets at the gateway that outlive the helper which opened them.
func TestWhereNamesAreAskedForIsHandedOver(t *testing.T) {
	needNetwork(t)
	l, path := servetest.Listen(t)
	helper := apart(t, l)
	c, id := netcall.New(path, model.NewInstanceID()), model.NewVMID()
	if _, err := c.ListenNames(t.Context()); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("without a bridge: %v", err)
	}
	if err := c.TellResolved(t.Context()); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("told of no bridge: %v", err)
	}
	port, err := c.Attach(t.Context(), id, hostSlot, policy(t, "none"))
	if err != nil {
		t.Fatal(err)
	}
	at, err := c.ListenNames(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kill(helper)
	limit := time.Now().Add(30 * time.Second)
	if uerr, terr := at.UDP.SetDeadline(limit), at.TCP.SetDeadline(limit); uerr != nil || terr != nil {
		t.Fatal(uerr, terr)
	}
	want := netip.AddrPortFrom(port.Gateway, 53).String()
	if udp, tcp := at.UDP.LocalAddr().String(), at.TCP.Addr().String(); udp != want || tcp != want {
		t.Errorf("they are at %s and %s, want %s", udp, tcp, want)
	}
	for _, network := range []string{"udp4", "tcp4"} {
		asking, err := net.Dial(network, want)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := asking.Write([]byte("who")); err != nil {
			t.Error(err)
		}
		var answering io.Reader = at.UDP
		if network == "tcp4" {
			conn, err := at.TCP.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			answering = conn
		}
		got := make([]byte, 3)
		if _, err := io.ReadFull(answering, got); err != nil || string(got) != "who" {
			t.Errorf("%s: %q, %v", network, got, err)
		}
		if err := asking.Close(); err != nil {
			t.Error(err)
		}
	}
	next := apart(t, l)
	t.Cleanup(func() { kill(next); _ = l.Close() })
	if _, err := c.ListenNames(t.Context()); err == nil {
		t.Error("others answer there too")
	}
	if uerr, terr := at.UDP.Close(), at.TCP.Close(); uerr != nil || terr != nil {
		t.Error(uerr, terr)
	}
	if n, err := c.LookNames(t.Context()); err != nil || n.Gateway != port.Gateway {
		t.Errorf("looked at: %+v, %v", n, err)
	}
	if err := c.Detach(t.Context(), id); err != nil {
		t.Error(err)
	}
	nothingLeft(t, c)
}

func TestWhatIsToldOfNamesArrives(t *testing.T) {
	t.Parallel()
	for _, want := range []hostnet.Names{{}, {Resolved: true}, {Gateway: netip.MustParseAddr("198.18.4.1"), Resolved: true, Told: true}} {
		got, err := client(t, answers{names: want}).LookNames(t.Context())
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	c := client(t, answers{err: model.Errorf(model.ErrUnavailable, "it does not run")})
	_, lerr := c.ListenNames(t.Context())
	if terr := c.TellResolved(t.Context()); !errors.Is(terr, model.ErrUnavailable) || !errors.Is(lerr, model.ErrUnavailable) {
		t.Errorf("got %v, %v", terr, lerr)
	}
}
