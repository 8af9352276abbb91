package main

import (
	"context"
	"fmt"
	"time"
)

// networkBytes are sent in each direction over each path: seconds for an emulated guest, whose first megabytes count
// little then.
const networkBytes = 64 << 20

// benchNetwork measures what TCP carries between the guest and the host.
func benchNetwork(ctx context.Context, s *session) ([]result, error) {
	p, err := openPaths(ctx, s)
	if err != nil {
		return nil, err
	}
	defer p.close()
	var results []result
	for _, way := range []struct {
		what string
		of   func(*server) (time.Duration, error)
	}{
		{"TCP throughput, guest to host", func(s *server) (time.Duration, error) { return s.upload(networkBytes) }},
		{"TCP throughput, host to guest", func(s *server) (time.Duration, error) { return s.download(networkBytes) }},
	} {
		took, err := p.measure(s.pairs, way.of)
		if err != nil {
			return nil, err
		}
		results = append(results, p.line(way.what, took, networkRate))
	}
	return results, nil
}

func networkRate(d time.Duration) string {
	return fmt.Sprintf("%.0f MB/s", networkBytes/d.Seconds()/1e6)
}
