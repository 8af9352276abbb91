package zone

import (
	"strings"

	"github.com/miekg/dns"

	"banger/internal/model"
)

const (
	apex = model.VMDomain + "."
	// ttl is 0, in seconds: a name is another's as soon as its VM is gone, and asking costs no packet that leaves the host.
	ttl = 0
	// udpSize is what is said to be taken in one datagram; answers are smaller than any client's least.
	udpSize = 1232
)

// answer returns the answer to a query, or nil for what is none.
func (s *Server) answer(query *dns.Msg) *dns.Msg {
	if query.Response {
		return nil
	}
	reply := new(dns.Msg).SetReply(query)
	opt := query.IsEdns0()
	if opt != nil {
		reply.SetEdns0(udpSize, false)
	}
	switch {
	case opt != nil && opt.Version() != 0:
		reply.Rcode = dns.RcodeBadVers
	case query.Opcode != dns.OpcodeQuery:
		reply.Rcode = dns.RcodeNotImplemented
	case len(query.Question) != 1:
		reply.Rcode = dns.RcodeFormatError
	case query.Question[0].Qclass != dns.ClassINET:
		reply.Rcode = dns.RcodeRefused
	default:
		s.lookUp(query.Question[0], reply)
	}
	return reply
}

// lookUp puts what is known of a name into reply. Of names elsewhere nothing is, and nobody is asked.
func (s *Server) lookUp(q dns.Question, reply *dns.Msg) {
	labels := dns.SplitDomainName(strings.ToLower(q.Name)) // a dot within a label divides nothing
	if len(labels) == 0 || labels[len(labels)-1] != model.VMDomain || q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR {
		reply.Rcode = dns.RcodeRefused
		return
	}
	reply.Authoritative = true
	below := len(labels) > 1
	address, known := s.address(strings.Join(labels[:len(labels)-1], "."))
	switch {
	case below && !known:
		reply.Rcode = dns.RcodeNameError
	case below && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeANY):
		reply.Answer = append(reply.Answer, &dns.A{Hdr: header(q.Name, dns.TypeA), A: address.AsSlice()})
	case !below && (q.Qtype == dns.TypeSOA || q.Qtype == dns.TypeANY):
		reply.Answer = append(reply.Answer, authority())
	}
	if len(reply.Answer) == 0 {
		reply.Ns = append(reply.Ns, authority()) // how long the absence lasts
	}
}

// authority is the record that says whose the domain is, and that what is not there may be in a moment.
func authority() dns.RR {
	return &dns.SOA{Hdr: header(apex, dns.TypeSOA), Ns: apex, Mbox: ".", Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: ttl}
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}
