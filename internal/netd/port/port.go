package port

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"banger/internal/netd/link"
)

// Port is one VM's attachment. It is safe for concurrent use.
type Port struct {
	side

	stack *stack.Stack
	link  *link.Endpoint
	kick  chan struct{}

	pings   pings
	buffers buffers
	dns     dnsServer
}

// New makes a port. It carries nothing before Start, and its policy holds from the first packet on.
func New(env Env, c Config) (*Port, error) {
	p := &Port{kick: make(chan struct{}, 1)}
	p.pings.open = map[pingKey]*ping{}
	p.init(env, c, neighbours{
		at: func(addr netip.Addr) (string, bool) {
			if peer := env.Peers(p, addr); peer != nil {
				return peer.Name(), true
			}
			return "", false
		},
		named: func(name string) (netip.Addr, bool) {
			if peer := env.Named(p, name); peer != nil {
				return peer.identity.Address, true
			}
			return netip.Addr{}, false
		},
	})
	p.link = link.New(link.Options{MAC: c.MAC, Address: c.Address, MTU: c.MTU, Divert: p.divert})
	if err := p.buildStack(); err != nil {
		p.stop()
		return nil, err
	}
	if err := p.serveDNS(); err != nil {
		p.stop()
		p.closeStack()
		return nil, err
	}
	return p, nil
}

// Start begins to connect to the VMM.
func (p *Port) Start() {
	p.tasks.Go(func() { p.link.Run(p.ctx, p.env.Dialer, p.identity.Socket, p.kick, p.disconnected, p.log) })
}

// SharesGroup says whether both policies name one group.
func (p *Port) SharesGroup(other *Port) bool { return p.shares(&other.side) }

// Change gives a live port another name, policy and host ports, and ends what these no longer allow.
func (p *Port) Change(c Config) error {
	p.store(c)
	p.recheck()
	p.recheckPings()
	err := p.serveDNS()
	p.Kick()
	return err
}

// Kick makes the port look for its VMM's socket at once.
func (p *Port) Kick() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// disconnected ends what the guest had open: whoever was at the other end of the link is gone.
func (p *Port) disconnected() { p.flows.each(func(f *flow) { f.abort() }) }

func (p *Port) recheckPings() {
	p.pings.each(func(pg *ping) {
		if !p.decide(netip.AddrPortFrom(pg.key.dst, 0), "").Allowed {
			pg.close()
		}
	})
}

// Close takes the port away. The guest's link just ends; its peers see their connections reset.
func (p *Port) Close() {
	p.stop()
	p.dns.close()
	p.flows.shut()
	p.pings.shut()
	p.tasks.Wait()
	p.closeStack()
}
