package netd

import (
	"io"
	"testing"
	"time"

	"banger/internal/netd/netdtest"
)

func TestGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.guest(2, "a", "group:one")
	b := w.guest(3, "b", "public,group:one,group:two")
	c := w.guest(4, "c", "group:two")
	open := w.guest(5, "d", "open")
	for _, g := range []*netdtest.Guest{a, b, c, open} {
		l := g.ListenTCP(7)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() { io.Copy(conn, conn); conn.Close() }()
			}
		}()
	}
	for _, try := range []struct {
		name     string
		from, to *netdtest.Guest
		want     bool
	}{
		{"a to b", a, b, true}, {"b to a", b, a, true}, {"b to c", b, c, true}, {"c to b", c, b, true},
		{"a to c", a, c, false}, {"c to a", c, a, false}, {"a to d", a, open, false}, {"d to a", open, a, false},
		{"d to b", open, b, false},
	} {
		conn, err := try.from.Dial(short(t), try.to.Address.String()+":7")
		if (err == nil) != try.want {
			t.Errorf("%s: %v", try.name, err)
		}
		if err != nil {
			if !try.want && !netdtest.Refused(err) {
				t.Errorf("%s: %v; want a refusal at once", try.name, err)
			}
			continue
		}
		if err := says(t, conn, try.name); err != nil {
			t.Errorf("%s: %v", try.name, err)
		}
		conn.Close()
	}
	// Leaving a group ends it at once.
	conn, err := a.Dial(short(t), b.Address.String()+":7")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w.set(description(a, "a", "public"))
	conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
	conn.Write([]byte("x"))
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("a VM that left its group was answered with %d bytes", n)
	}
	if _, err := b.Dial(short(t), a.Address.String()+":7"); !netdtest.Refused(err) {
		t.Errorf("a VM that left its group is reached: %v", err)
	}
}

// TestFlood has a VM send as fast as it can, to everywhere, and read nothing: another one works as if it were alone.
func TestFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.TCP(t, web, echo)
	bad, good := w.guest(2, "bad", "public"), w.guest(3, "good", "public")
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		us := []byte("\x02bnetd")
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			to := []string{"93.184.216.34", "10.0.0.1", "198.18.0.1", "198.18.0.3", "8.8.8.8"}[i%5]
			frames := [][]byte{
				ethernet(us, bad.MAC, 0x0800, ip4(bad.Address.String(), to, 6, tcpSYN(uint16(i)))),
				ethernet(us, bad.MAC, 0x0800, ip4(bad.Address.String(), to, 17, udpTo(uint16(i)))),
				ethernet(us, bad.MAC, 0x0800, ip4(bad.Address.String(), to, 1, echoRequest())),
				ethernet(us, bad.MAC, 0x0806, arpRequest(bad.MAC, bad.Address.String(), "198.18.0.1")),
			}
			bad.Frame(frames[i%len(frames)])
		}
	}()
	for range 20 {
		conn, err := good.Dial(short(t), web)
		if err != nil {
			t.Fatal(err)
		}
		if err := says(t, conn, "undisturbed"); err != nil {
			t.Error(err)
		}
		conn.Close()
	}
	close(stop)
	<-done
	if list, err := w.Denied("id-bad", nil); err != nil || len(list) > 256 || len(list) == 0 {
		t.Errorf("%d denials, %v", len(list), err)
	}
}
