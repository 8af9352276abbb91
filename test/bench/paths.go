package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"
)

// guestProgram is this program in a guest.
const guestProgram = "/root/banger-bench"

// path is a way that TCP takes to the host, with a peer at its other end.
type path struct {
	what string // in the table
	*server
}

// paths are the same connection by the host's loopback, through a bare VMM and through banger.
type paths struct {
	loopback, bare, product *path
	missing                 error // why there is no bare one
	ends                    []func()
}

// openPaths starts two VMs, banger's and a bare one, which both idle while the other is measured.
func openPaths(ctx context.Context, s *session) (_ *paths, err error) {
	self, err := staticSelf()
	if err != nil {
		return nil, err
	}
	p := &paths{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	m, err := s.newHome(ctx)
	if err != nil {
		return nil, err
	}
	p.ends = append(p.ends, m.close)
	bare, err := newBare(ctx, m)
	if err != nil {
		return nil, err
	}
	if p.loopback, err = p.overLoopback(ctx, self); err != nil {
		return nil, err
	}
	if p.product, err = p.throughBanger(ctx, m, self); err != nil {
		return nil, err
	}
	mtu, err := m.mtu(ctx)
	if err != nil {
		return nil, err
	}
	p.bare, err = p.throughBare(ctx, m, bare, self, mtu)
	var why missing
	if errors.As(err, &why) && ctx.Err() == nil {
		p.missing, err = why, nil
		fmt.Fprintln(os.Stderr, "bench: the bare pass-through is not measured:", why)
	}
	return p, err
}

// close ends all in the reverse order.
func (p *paths) close() {
	for _, end := range slices.Backward(p.ends) {
		end()
	}
}

func (p *paths) serve(ctx context.Context, what string, l net.Listener, start func() (<-chan error, error)) (*path, error) {
	ended, err := start()
	if err != nil {
		l.Close()
		return nil, err
	}
	s, err := accept(ctx, l, ended)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	p.ends = append(p.ends, s.close)
	return &path{what, s}, nil
}

// samples are what was measured over each path.
type samples struct{ loopback, bare, product []time.Duration }

// measure measures all paths in turn, so many times, and once before that to warm up; each begins once in a while.
func (p *paths) measure(times int, of func(*server) (time.Duration, error)) (samples, error) {
	var s samples
	turns := []struct {
		path *path
		into *[]time.Duration
	}{{p.loopback, &s.loopback}, {p.bare, &s.bare}, {p.product, &s.product}}
	for i := range times + 1 {
		for n := range turns {
			t := turns[(i+n)%len(turns)]
			if t.path == nil {
				continue
			}
			took, err := of(t.path.server)
			if err != nil {
				return s, fmt.Errorf("%s: %w", t.path.what, err)
			}
			if i > 0 {
				*t.into = append(*t.into, took)
			}
		}
	}
	return s, nil
}

// line compares banger with the bare pass-through, or, where there is none, with the loopback.
func (p *paths) line(what string, s samples, show func(time.Duration) string) result {
	floor, floors := p.bare, s.bare
	if floor == nil {
		floor, floors = p.loopback, s.loopback
	}
	var pairs, loopbacks []pair
	for i, product := range s.product {
		pairs = append(pairs, pair{floor: floors[i], product: product})
		loopbacks = append(loopbacks, pair{floor: s.loopback[i], product: product})
	}
	r := beside(what, floor.what, pairs)
	r.floorTime, r.product = show(median(floors)), show(median(s.product))
	if p.bare == nil {
		r.notes = []string{fmt.Sprintf("The bare pass-through was not measured on this host: %s.", p.missing)}
		return r
	}
	r.notes = []string{fmt.Sprintf("Over %s it is %s; banger takes %.0f times as long.", p.loopback.what, show(median(s.loopback)), median(each(loopbacks, pair.ratio)))}
	return r
}
