//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// sendProbes sends, from the guest that it runs in, a packet for each probe, and writes for each that was answered
// "answered PHASE/NAME". What arrived elsewhere is written down there.
func sendProbes(out io.Writer, phase string, doors []string) error {
	if err := knownPhase(phase); err != nil {
		return err
	}
	s, err := newSender()
	if err != nil {
		return err
	}
	defer unix.Close(s.fd)
	answered := make(chan string, 1024)
	probes := frameProbes(s.near(1), s.near(3))
	go s.listen(phase, probes, answered)
	for _, p := range probes {
		for _, frame := range p.frames(s, phase+"/"+p.name) {
			if err := s.send(frame); err != nil && !errors.Is(err, unix.EMSGSIZE) && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
		fmt.Fprintf(out, "sent %s/%s\n", phase, p.name)
	}
	var wg sync.WaitGroup
	for _, p := range append(socketProbes(s.near(1), s.near(3)), doorProbes(s.near(1), doors)...) {
		wg.Go(func() {
			if p.try(phase + "/" + p.name) {
				answered <- phase + "/" + p.name
			}
		})
		fmt.Fprintf(out, "sent %s/%s\n", phase, p.name)
	}
	over := make(chan struct{})
	go func() {
		wg.Wait()
		time.Sleep(2 * time.Second) // what is answered late
		close(over)
	}()
	said := map[string]bool{}
	for {
		select {
		case name := <-answered:
			if !said[name] {
				said[name] = true
				fmt.Fprintf(out, "answered %s\n", name)
			}
		case <-over:
			return nil
		}
	}
}

// keepSending sends every probe, says "all sent", and sends them anew each second until its guest ends.
func keepSending(out io.Writer, phase string, doors []string) error {
	if err := sendProbes(out, phase, doors); err != nil {
		return err
	}
	fmt.Fprintln(out, "all sent")
	for {
		time.Sleep(time.Second)
		go func() { _ = sendProbes(out, phase, doors) }() // a guest that ends may be short of anything
	}
}

// sender sends frames from the guest's interface.
type sender struct {
	fd           int
	index        int
	mac, gateway net.HardwareAddr
	address      netip.Addr
}

// near is an address beside the guest's: 1 is the gateway, 3 the second VM of the script, those from 77 on nobody.
func (s *sender) near(n byte) string {
	b := s.address.As4()
	b[3] = n
	return netip.AddrFrom4(b).String()
}

// neighbour is the station of the second VM of the script, which has the next number after this one's.
func (s *sender) neighbour() net.HardwareAddr {
	mac := slices.Clone(s.mac)
	mac[5]++
	return mac
}

func newSender() (*sender, error) {
	s := &sender{}
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		addresses, err := i.Addrs()
		if err != nil || i.Flags&net.FlagLoopback != 0 || len(addresses) == 0 {
			continue
		}
		s.index, s.mac = i.Index, i.HardwareAddr
		s.address = netip.MustParsePrefix(addresses[0].String()).Addr()
	}
	if s.index == 0 {
		return nil, errors.New("this machine has no network interface")
	}
	// The kernel learns the gateway's hardware address when it has something to send there.
	c, err := net.Dial("udp4", s.near(1)+":9")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for end := time.Now().Add(roleTimeout); s.gateway == nil; {
		fmt.Fprintln(c)
		time.Sleep(50 * time.Millisecond)
		table, err := os.ReadFile("/proc/net/arp")
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(table)) {
			if f := strings.Fields(line); len(f) > 3 && f[0] == s.near(1) && f[2] != "0x0" {
				s.gateway, _ = net.ParseMAC(f[3])
			}
		}
		if time.Now().After(end) {
			// Nobody answers, such as between one netd and the next: any address will do.
			s.gateway = net.HardwareAddr{2, 0, 0, 0, 0, 1}
		}
	}
	s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(bits(unix.ETH_P_ALL)))
	if err != nil {
		return nil, err
	}
	return s, unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: bits(unix.ETH_P_ALL), Ifindex: s.index})
}

func bits(n uint16) uint16 { return n<<8 | n>>8 }

func (s *sender) send(frame []byte) error {
	return unix.Sendto(s.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: s.index})
}

// listen tells the names that come back: those in packets, and answers to ARP for nobody.
func (s *sender) listen(phase string, probes []frameProbe, answered chan<- string) {
	buf := make([]byte, 128<<10)
	for {
		n, from, err := unix.Recvfrom(s.fd, buf, 0)
		if err != nil {
			return
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok || ll.Pkttype == unix.PACKET_OUTGOING || n < 14 {
			continue
		}
		frame := buf[:n]
		if i := bytes.Index(frame, []byte(phase+"/")); i >= 0 && !isUnreachable(frame) {
			name, _, _ := strings.Cut(string(frame[i:]), "\n")
			answered <- name
		}
		if binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_ARP || n < 42 {
			continue
		}
		for _, p := range probes {
			if p.asks != 0 && net.IP(frame[28:32]).String() == s.near(p.asks) {
				answered <- phase + "/" + p.name
			}
		}
	}
}

// isUnreachable says whether a frame is an ICMP error, which repeats what it is about.
func isUnreachable(frame []byte) bool {
	return len(frame) > 34 && frame[23] == unix.IPPROTO_ICMP && frame[34] != 0
}

// probeTimeout is how long the guest waits for what must come, and for what must not and is refused by silence.
const probeTimeout = 15 * time.Second

// socketProbe is a probe by the guest's own kernel.
type socketProbe struct {
	name string
	try  func(text string) bool
}

func connects(address string) func(string) bool {
	return func(text string) bool {
		c, err := net.DialTimeout("tcp4", address, probeTimeout)
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(probeTimeout))
		fmt.Fprintln(c, text)
		_, err = c.Read(make([]byte, 16))
		return err == nil
	}
}

func resolvesTo(name, address string) func(string) bool {
	return func(string) bool {
		found, err := (&net.Resolver{PreferGo: true}).LookupHost(ctxFor(probeTimeout), name)
		return err == nil && strings.Contains(" "+strings.Join(found, " ")+" ", " "+address+" ")
	}
}

func ctxFor(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	time.AfterFunc(d, cancel)
	return ctx
}

// doorProbes are to ports of the gateway at which the host listens. To port 53 a guest is led elsewhere, if it may ask.
func doorProbes(guestGateway string, doors []string) []socketProbe {
	var all []socketProbe
	for _, port := range doors {
		at := net.JoinHostPort(guestGateway, port)
		all = append(all, socketProbe{"tcp to the door " + port, asks("tcp4", at)}, socketProbe{"udp to the door " + port, asks("udp4", at)})
	}
	return all
}

// asks sends a question for a name with the probe's text after it, of which who serves names answers the one, and who
// records, the other. Whatever is answered counts.
func asks(network, address string) func(string) bool {
	return func(text string) bool {
		c, err := net.DialTimeout(network, address, probeTimeout)
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(probeTimeout))
		question, err := new(dns.Msg).SetQuestion("web.example.", dns.TypeA).Pack()
		if err != nil {
			return false
		}
		if network == "tcp4" {
			question = slices.Concat([]byte{0, byte(len(question))}, question, []byte(text+"\n"))
		}
		if _, err := c.Write(question); err != nil {
			return false
		}
		_, err = c.Read(make([]byte, 512))
		return err == nil
	}
}

// tells asks the server at an address for a name, and says whether it told one's address.
func tells(network, address, name string) func(string) bool {
	return func(string) bool {
		found, err := ask(network, address, name)
		return err == nil && len(found) > 0
	}
}

func socketProbes(guestGateway, otherGuest string) []socketProbe {
	at := func(address string) func(string) bool { return connects(fmt.Sprintf("%s:%d", address, recordPort)) }
	return []socketProbe{
		{"allowed tcp", at("11.0.0.2")},
		{"second tcp", at("11.0.0.3")},
		{"tcp to the private network", at("10.9.0.2")},
		{"tcp to the host", at("11.0.0.1")},
		{"tcp to the host's private address", at("10.9.0.1")},
		{"tcp to the provider's network", at("100.64.0.2")},
		{"tcp to metadata", at("169.254.169.254")},
		{"tcp to the gateway", at(guestGateway)},
		{"tcp to another guest", at(otherGuest)},
		{"tcp to 0.0.0.1", at("0.0.0.1")},
		{"allowed name", resolvesTo("web.example", "11.0.0.2")},
		{"private name", resolvesTo("lan.example", "10.9.0.2")},
		{"metadata name", resolvesTo("meta.example", "169.254.169.254")},
		{"loopback name", resolvesTo("loop.example", "127.0.0.1")},
		{"host's name", resolvesTo("host.example", "11.0.0.1")},
		{"other guest's name", resolvesTo("guest.example", otherGuest)},
		{"private half of a name", resolvesTo("mixed.example", "10.9.0.2")},
		{"rebinding name", func(text string) bool {
			private := resolvesTo("rebind.example", "10.9.0.2")
			first := private(text)
			return private(text) || first
		}},
		{"udp to the server of the VMs' names", tells("udp", guestGateway+":53", "other.vm")},
		{"tcp to the server of the VMs' names", tells("tcp", guestGateway+":53", "other.vm")},
	}
}
