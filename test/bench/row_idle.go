package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

const (
	idleVMs   = 5
	idleTime  = time.Minute
	idleLimit = 15 << 20 // bytes of RssAnon
)

func benchIdle(ctx context.Context, s *session) (result, error) {
	m, err := s.newHome(ctx)
	if err != nil {
		return result{}, err
	}
	defer m.close()
	for i := range idleVMs {
		name := fmt.Sprintf("idle-%d", i)
		if err := m.startVM(ctx, name); err != nil {
			return result{}, err
		}
		if err := settle(ctx, m, name); err != nil {
			return result{}, err
		}
	}
	pid, err := m.daemonPID(ctx)
	if err != nil {
		return result{}, err
	}
	// What the daemon does after its last client is not idleness yet: the first stretch is not counted.
	if err := pass(ctx, idleTime/2); err != nil {
		return result{}, err
	}
	before, err := cpuTime(pid)
	if err != nil {
		return result{}, err
	}
	if err := pass(ctx, idleTime); err != nil {
		return result{}, err
	}
	after, err := cpuTime(pid)
	if err != nil {
		return result{}, err
	}
	anon, err := memory(pid, "status", "RssAnon")
	if err != nil {
		return result{}, err
	}
	ticks := int((after - before) / tick)
	met := "yes"
	if ticks > 0 || anon > idleLimit {
		met = "no"
	}
	return result{
		what: fmt.Sprintf("the daemon with %d idle VMs", idleVMs), floor: "", floorTime: "",
		product: fmt.Sprintf("RssAnon %s, %d ticks in %s", mebibytes(anon), ticks, idleTime),
		target:  fmt.Sprintf("%s, 0 ticks", mebibytes(idleLimit)), met: met,
	}, nil
}

func (m *home) daemonPID(ctx context.Context) (int, error) {
	out, err := m.banger(ctx, "daemon", "status", "--format", "json")
	if err != nil {
		return 0, err
	}
	var status struct{ PID int }
	return status.PID, json.Unmarshal([]byte(out), &status)
}

// pass lets time go by, where nothing but time is waited for.
func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
