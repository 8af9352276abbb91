package model

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// MaxPorts is how many ports one VM may publish, and how many of the host's it may reach.
const MaxPorts = 256

// PortForward publishes one port of a guest on the host. Its text form is that of -p: [ip:]host:guest[/udp].
type PortForward struct {
	HostIP    netip.Addr // 127.0.0.1 unless told
	HostPort  uint16     // 0 for any free one
	GuestPort uint16
	UDP       bool
}

// Port is a forward that is in force, or of a VM at rest one that will be.
type Port struct {
	PortForward
	Auto bool // it is there because the guest listens, and goes with that
	// HostName is what this host's programs find HostIP by; "" where there is no such name.
	HostName string
}

// Loopback is where ports are published unless told otherwise.
func Loopback() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

// ParsePort reads [ip:]host:guest[/tcp|/udp]. An IPv6 address stands in brackets.
func ParsePort(text string) (PortForward, error) {
	bad := func(why string) (PortForward, error) {
		return PortForward{}, Errorf(ErrInvalid, "%q is not a port to publish: %s; write [IP:]HOST:GUEST[/udp], such as 8080:80", text, why)
	}
	f := PortForward{HostIP: Loopback()}
	rest, protocol, given := strings.Cut(text, "/")
	switch {
	case given && protocol == "udp":
		f.UDP = true
	case given && protocol != "tcp":
		return bad("after / stands tcp or udp")
	}
	at := strings.LastIndexByte(rest, ':')
	if at < 0 {
		return bad("it names one port, and there are two sides")
	}
	var ok bool
	if f.GuestPort, ok = portNumber(rest[at+1:]); !ok || f.GuestPort == 0 {
		return bad("the guest's port is a number from 1 to 65535")
	}
	host := rest[:at]
	if at = strings.LastIndexByte(host, ':'); at >= 0 {
		inside, bracketed := strings.CutPrefix(host[:at], "[")
		if bracketed {
			inside, bracketed = strings.CutSuffix(inside, "]")
		}
		ip, err := netip.ParseAddr(inside)
		if err != nil || ip.Zone() != "" || ip.Is6() != bracketed {
			return bad("before the last two colons stands an address of the host")
		}
		f.HostIP, host = ip.Unmap(), host[at+1:]
	}
	if f.HostPort, ok = portNumber(host); !ok {
		return bad("the host's port is a number from 0, for any free one, to 65535")
	}
	return f, nil
}

func portNumber(text string) (uint16, bool) {
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil && text[0] != '+'
}

func (f PortForward) String() string {
	text := fmt.Sprintf("%s:%d", netip.AddrPortFrom(f.HostIP, f.HostPort), f.GuestPort)
	if f.UDP {
		text += "/udp"
	}
	return text
}

// Protocol is tcp or udp.
func (f PortForward) Protocol() string {
	if f.UDP {
		return "udp"
	}
	return "tcp"
}

// Host is the side of the host, address:port.
func (f PortForward) Host() string { return netip.AddrPortFrom(f.HostIP, f.HostPort).String() }

// Overlaps says whether the two would want one port of the host. Any free ones never do.
func (f PortForward) Overlaps(o PortForward) bool {
	if f.HostPort == 0 || f.HostPort != o.HostPort || f.UDP != o.UDP {
		return false
	}
	return f.HostIP == o.HostIP || f.HostIP.IsUnspecified() || o.HostIP.IsUnspecified()
}

// MarshalJSON writes the text form, and UnmarshalJSON reads it.
func (f PortForward) MarshalJSON() ([]byte, error) { return json.Marshal(f.String()) }

// UnmarshalJSON reads what MarshalJSON writes.
func (f *PortForward) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	var err error
	*f, err = ParsePort(text)
	return err
}

// ValidatePorts checks that forwards are possible beside each other.
func ValidatePorts(all []PortForward) error {
	if len(all) > MaxPorts {
		return Errorf(ErrInvalid, "%d ports are too many to publish: a VM has at most %d", len(all), MaxPorts)
	}
	for i, f := range all {
		if f.GuestPort == 0 || !f.HostIP.IsValid() {
			return Errorf(ErrInvalid, "%s cannot be published: both sides need a port", f)
		}
		for _, other := range all[:i] {
			if f.Overlaps(other) {
				return Errorf(ErrInvalid, "%s and %s want the same port of the host: give one of them another", other, f)
			}
			if f == other {
				return Errorf(ErrInvalid, "%s is published twice", f)
			}
		}
	}
	return nil
}
