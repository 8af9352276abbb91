//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// recordPort is where all servers of a world listen, over both protocols.
const recordPort = 7000

// record serves at recordPort of each address. What comes, the first line of a connection or a datagram, is written to
// out as "seen TEXT at ADDRESS" and sent back; of a connection every line is sent back. It returns once all listen.
func record(out io.Writer, addresses ...string) error {
	var mu sync.Mutex
	note := func(text, at string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, "seen %s at %s\n", strings.TrimSpace(text), at)
	}
	for _, address := range addresses {
		at := fmt.Sprintf("%s:%d", address, recordPort)
		packets, err := net.ListenPacket("udp4", at)
		if err != nil {
			return err
		}
		go recordPackets(packets, func(text string) { note(text, "udp "+address) })
		listener, err := net.Listen("tcp4", at)
		if err != nil {
			return err
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go recordLines(conn, func(text string) { note(text, "tcp "+address) })
			}
		}()
	}
	return nil
}

func recordPackets(c net.PacketConn, note func(string)) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		note(string(buf[:min(n, 64)])) // a big one is known by its begin
		_, _ = c.WriteTo(buf[:n], from)
	}
}

func recordLines(c net.Conn, note func(string)) {
	defer c.Close()
	in := bufio.NewReader(c)
	for first := true; ; first = false {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if first {
			note(line)
		}
		if _, err := io.WriteString(c, line); err != nil {
			return
		}
	}
}

// serveNames is the resolver of a world's host.
func serveNames(at string) error {
	addresses := map[string][]string{
		"web.example.": {"11.0.0.2"}, "other.example.": {"11.0.0.3"}, "short.corp.example.": {"11.0.0.3"},
		"lan.example.": {"10.9.0.2"}, "meta.example.": {"169.254.169.254"}, "loop.example.": {"127.0.0.1"},
		"host.example.": {"11.0.0.1"}, "guest.example.": {"198.18.0.3"}, "mixed.example.": {"10.9.0.2", "11.0.0.2"},
	}
	var mu sync.Mutex
	rebind := 0
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		question := q.Question[0]
		name := strings.ToLower(question.Name)
		found, known := addresses[name]
		if name == "rebind.example." { // public for the first who asks, private for the next
			known = true
			if question.Qtype == dns.TypeA {
				mu.Lock()
				found = []string{[]string{"11.0.0.2", "10.9.0.2"}[rebind%2]}
				rebind++
				mu.Unlock()
			}
		}
		if !known {
			a.Rcode = dns.RcodeNameError
		}
		if question.Qtype == dns.TypeA {
			for _, ip := range found {
				a.Answer = append(a.Answer, &dns.A{
					Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 0}, A: net.ParseIP(ip),
				})
			}
		}
		_ = w.WriteMsg(a)
	})
	packets, err := net.ListenPacket("udp4", at)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", at)
	if err != nil {
		return err
	}
	go func() { _ = (&dns.Server{PacketConn: packets, Handler: handler}).ActivateAndServe() }()
	go func() { _ = (&dns.Server{Listener: listener, Handler: handler}).ActivateAndServe() }()
	return nil
}
