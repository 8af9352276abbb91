package port

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"banger/internal/egress"
	"banger/internal/netd/names"
)

// side is what there is of one VM here, whoever carries its packets: what it may reach, by what names, and what is open.
type side struct {
	env      Env
	log      *slog.Logger
	id       string
	identity Identity
	near     neighbours

	config atomic.Pointer[Config]
	rules  atomic.Pointer[egress.Rules]
	groups atomic.Pointer[map[string]bool]

	pins     egress.Pins
	denials  egress.Denials
	resolver *names.Resolver

	tcp     limiter
	udp     limiter
	queries limiter
	flows   flows

	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// neighbours are the VMs of the same groups, who reach each other.
type neighbours struct {
	at    func(addr netip.Addr) (name string, there bool)
	named func(name string) (addr netip.Addr, there bool)
}

func (s *side) init(env Env, c Config, near neighbours) {
	s.env, s.id, s.identity, s.near = env, c.ID, c.Identity, near
	s.log = env.Log.With("vm", c.Name, "id", c.ID)
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.tcp, s.udp, s.queries = newLimiter(env.Limits.TCP), newLimiter(env.Limits.UDP), newLimiter(env.Limits.Queries)
	s.flows.open = map[*flow]bool{}
	s.store(c)
	s.resolver = names.New(names.Options{
		Rules: s.rules.Load, Pins: &s.pins, Denials: &s.denials, Host: env.Host, Local: s.localName, Name: s.localAddr,
	})
}

// ID returns the VM's id.
func (s *side) ID() string { return s.id }

// Identity returns what cannot change.
func (s *side) Identity() Identity { return s.identity }

// Name returns the VM's name.
func (s *side) Name() string { return s.config.Load().Name }

// Config returns what it is to be now.
func (s *side) Config() *Config { return s.config.Load() }

// Denials are what the VM wanted and did not get.
func (s *side) Denials() []egress.Denial { return s.denials.List() }

// shares says whether both policies name one group.
func (s *side) shares(other *side) bool {
	theirs := *other.groups.Load()
	for group := range *s.groups.Load() {
		if theirs[group] {
			return true
		}
	}
	return false
}

func (s *side) store(c Config) {
	groups := map[string]bool{}
	for _, g := range c.Policy.Groups() {
		groups[g] = true
	}
	s.config.Store(&c)
	s.groups.Store(&groups)
	s.rules.Store(egress.New(c.Policy, s.env.Own))
}

// recheck ends the flows that the policy does not allow any more. A new connection is entered in flows before it is decided
// on, so that with a policy that is stored before this, none slips through.
func (s *side) recheck() {
	s.flows.each(func(f *flow) {
		if f.via != nil {
			return
		}
		if v := s.decide(f.dst, f.allowedAs()); !v.Allowed {
			s.log.Info("the policy changed and ends a connection", "to", f.dst, "rule", v.Rule)
			f.abort()
		}
	})
}
