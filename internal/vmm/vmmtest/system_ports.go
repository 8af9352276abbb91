package vmmtest

import (
	"context"
	"slices"
	"strconv"
)

// WatchListeners reports the ports that listen commands of the fake guest hold.
func (s *System) WatchListeners(ctx context.Context, _ func() bool, report func(ports []uint16) error) error {
	for {
		s.mu.Lock()
		now, changed := slices.Clone(s.listening), s.relistened
		s.mu.Unlock()
		slices.Sort(now)
		if err := report(slices.Compact(now)); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *System) listen(change func(ports []uint16) []uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening = change(s.listening)
	close(s.relistened)
	s.relistened = make(chan struct{})
}

// runListen pretends to listen on a port until it is ended.
func runListen(p *task, args []string) int {
	if len(args) != 1 {
		return p.complain("usage: listen PORT")
	}
	n, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil {
		return p.complain("not a port")
	}
	port := uint16(n)
	p.system.listen(func(ports []uint16) []uint16 { return append(ports, port) })
	defer p.system.listen(func(ports []uint16) []uint16 {
		if i := slices.Index(ports, port); i >= 0 {
			return slices.Delete(slices.Clone(ports), i, i+1)
		}
		return ports
	})
	p.say("listening\n")
	<-p.ctx.Done()
	return 0
}
