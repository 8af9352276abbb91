package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"banger/internal/model"
)

// maxServerTimeout caps what resolv.conf says, so that a name which nobody answers fails in a guest's own time.
const maxServerTimeout = 5 * time.Second

// udpSize is the largest answer that is asked for over UDP; larger ones come by TCP.
const udpSize = 1232

// Host asks the host's resolvers, those of /etc/resolv.conf at the time of the question: systemd-resolved, with whatever
// split DNS it does, or any other.
type Host struct {
	path string
	port string

	mu     sync.Mutex
	read   os.FileInfo // of what config was read from
	config dns.ClientConfig
}

// NewHost returns the resolvers that the file at path (resolv.conf(5)) names, on a port, which is 53 but in tests.
func NewHost(path, port string) *Host { return &Host{path: path, port: port} }

// current returns what the file says now. Looking at it costs less than one packet and nothing while nobody asks.
func (h *Host) current() dns.ClientConfig {
	h.mu.Lock()
	defer h.mu.Unlock()
	info, err := os.Stat(h.path)
	if err != nil {
		h.read, h.config = nil, dns.ClientConfig{}
		return h.config
	}
	if h.read != nil && os.SameFile(h.read, info) && h.read.ModTime().Equal(info.ModTime()) && h.read.Size() == info.Size() {
		return h.config
	}
	config, err := dns.ClientConfigFromFile(h.path)
	if err != nil {
		config = &dns.ClientConfig{}
	}
	h.read, h.config = info, *config
	return h.config
}

// Search returns the domains in which the host looks for a name of one label.
func (h *Host) Search() []string {
	var domains []string
	for _, domain := range h.current().Search {
		if domain = strings.ToLower(strings.Trim(domain, ".")); domain != "" {
			domains = append(domains, domain)
		}
	}
	return domains
}

// Check says whether there is a resolver to ask.
func (h *Host) Check() error {
	if len(h.current().Servers) > 0 {
		return nil
	}
	if _, err := os.ReadFile(h.path); err != nil {
		return model.HostErrorf(err, "cannot tell which resolvers the host has")
	}
	return model.Errorf(model.ErrUnavailable, "cannot look up names: %s names no resolver", h.path)
}

// Servers are the resolvers that are asked.
func (h *Host) Servers() []string { return h.current().Servers }

// Exchange asks the resolvers one after the other until one knows, or knows that there is no such thing.
func (h *Host) Exchange(ctx context.Context, name string, qtype uint16) (*dns.Msg, error) {
	config := h.current()
	if err := h.Check(); err != nil {
		return nil, err
	}
	timeout := min(time.Duration(config.Timeout)*time.Second, maxServerTimeout)
	var errs error
	for _, server := range config.Servers {
		answer, err := h.ask(ctx, net.JoinHostPort(server, h.port), name, qtype, timeout)
		if err == nil {
			return answer, nil
		}
		errs = errors.Join(errs, fmt.Errorf("%s: %w", server, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errs
}

func (h *Host) ask(ctx context.Context, server, name string, qtype uint16, timeout time.Duration) (*dns.Msg, error) {
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	query.SetEdns0(udpSize, false)
	answer, err := ask(ctx, &dns.Client{Net: "udp", Timeout: timeout, UDPSize: udpSize}, query, server)
	if err == nil && answer.Truncated {
		answer, err = ask(ctx, &dns.Client{Net: "tcp", Timeout: timeout}, query, server)
	}
	return answer, err
}

func ask(ctx context.Context, client *dns.Client, query *dns.Msg, server string) (*dns.Msg, error) {
	answer, _, err := client.ExchangeContext(ctx, query, server)
	switch {
	case err != nil:
		return nil, err
	case answer.Id != query.Id || !answer.Response || len(answer.Question) != 1 ||
		!strings.EqualFold(answer.Question[0].Name, query.Question[0].Name) || answer.Question[0].Qtype != query.Question[0].Qtype:
		return nil, errors.New("it answered another question")
	case answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("it answered %s", dns.RcodeToString[answer.Rcode])
	}
	return answer, nil
}
