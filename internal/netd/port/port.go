package port

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"banger/internal/egress"
	"banger/internal/netd/link"
	"banger/internal/netd/names"
)

// Port is one VM's attachment. It is safe for concurrent use.
type Port struct {
	env      Env
	log      *slog.Logger
	id       string
	identity Identity

	config atomic.Pointer[Config]
	rules  atomic.Pointer[egress.Rules]
	groups atomic.Pointer[map[string]bool]

	pins     egress.Pins
	denials  egress.Denials
	resolver *names.Resolver

	stack *stack.Stack
	link  *link.Endpoint
	kick  chan struct{}

	tcp     limiter
	udp     limiter
	queries limiter
	pings   pings
	flows   flows
	buffers buffers
	dns     dnsServer

	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// New makes a port. It carries nothing before Start, and its policy holds from the first packet on.
func New(env Env, c Config) (*Port, error) {
	p := &Port{env: env, id: c.ID, identity: c.Identity, kick: make(chan struct{}, 1), log: env.Log.With("vm", c.Name, "id", c.ID)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.tcp, p.udp, p.queries = newLimiter(env.Limits.TCP), newLimiter(env.Limits.UDP), newLimiter(env.Limits.Queries)
	p.flows.open = map[*flow]bool{}
	p.pings.open = map[pingKey]*ping{}
	p.store(c)
	p.resolver = names.New(names.Options{
		Rules: p.rules.Load, Pins: &p.pins, Denials: &p.denials, Host: env.Host, Local: p.localName, Name: p.localAddr,
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

// ID returns the VM's id.
func (p *Port) ID() string { return p.id }

// Identity returns what the port cannot change.
func (p *Port) Identity() Identity { return p.identity }

// Name returns the VM's name.
func (p *Port) Name() string { return p.config.Load().Name }

// Denials are what the VM wanted and did not get.
func (p *Port) Denials() []egress.Denial { return p.denials.List() }

// SharesGroup says whether both policies name one group.
func (p *Port) SharesGroup(other *Port) bool {
	theirs := *other.groups.Load()
	for group := range *p.groups.Load() {
		if theirs[group] {
			return true
		}
	}
	return false
}

func (p *Port) store(c Config) {
	groups := map[string]bool{}
	for _, g := range c.Policy.Groups() {
		groups[g] = true
	}
	p.config.Store(&c)
	p.groups.Store(&groups)
	p.rules.Store(egress.New(c.Policy, p.env.Own))
}

// Change gives a live port another name, policy and host ports, and ends what these no longer allow. A new connection is
// entered in flows before it is decided on, so that none slips through between the two lines below.
func (p *Port) Change(c Config) error {
	p.store(c)
	p.recheck()
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

// recheck ends the flows that the policy does not allow any more.
func (p *Port) recheck() {
	p.flows.each(func(f *flow) {
		if f.via != nil {
			return
		}
		if v := p.decide(f.dst, f.allowedAs()); !v.Allowed {
			p.log.Info("the policy changed and ends a connection", "to", f.dst, "rule", v.Rule)
			f.abort()
		}
	})
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
