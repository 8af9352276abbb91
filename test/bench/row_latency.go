package main

import (
	"context"
	"time"
)

// How often each is measured per pair; the median is the pair's.
const (
	latencyRounds = 1000
	latencyDials  = 50
)

// benchLatency measures how long the guest and the host wait for each other.
func benchLatency(ctx context.Context, s *session) ([]result, error) {
	p, err := openPaths(ctx, s)
	if err != nil {
		return nil, err
	}
	defer p.close()
	var results []result
	for _, wait := range []struct {
		what string
		of   func(*server) (time.Duration, error)
	}{
		{"one byte from the host to the guest and back, over TCP", func(s *server) (time.Duration, error) { return s.roundTrip(latencyRounds) }},
		{"a TCP connection from the guest to the host", func(s *server) (time.Duration, error) { return s.dial(latencyDials) }},
	} {
		took, err := p.measure(s.pairs, wait.of)
		if err != nil {
			return nil, err
		}
		results = append(results, p.line(wait.what, took, milliseconds))
	}
	return results, nil
}
