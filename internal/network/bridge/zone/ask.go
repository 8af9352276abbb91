package zone

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// Answers says whether somebody answers for the domain at an address.
func Answers(ctx context.Context, at netip.Addr, within time.Duration) bool {
	client := &dns.Client{Net: "tcp", Timeout: within} // which says at once that nobody does
	reply, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(apex, dns.TypeSOA), net.JoinHostPort(at.String(), "53"))
	return err == nil && reply.Authoritative
}
