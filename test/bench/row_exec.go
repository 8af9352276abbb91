package main

import (
	"context"
	"fmt"
	"time"

	"banger/internal/model"
)

// rounds is how often each floor of an exec is measured per pair; their median is the pair's.
const rounds = 30

// floorsLimit is far above what the floors of one pair take on a host that is very busy.
const floorsLimit = time.Minute

func benchExec(ctx context.Context, s *session) (result, error) {
	m, err := s.newHome(ctx)
	if err != nil {
		return result{}, err
	}
	defer m.close()
	if err := m.startVM(ctx, "box"); err != nil {
		return result{}, err
	}
	if err := settle(ctx, m, "box"); err != nil {
		return result{}, err
	}
	box, err := m.find(ctx, "box")
	if err != nil {
		return result{}, err
	}
	var pairs []pair
	var echoes, forks, starts []time.Duration
	for range s.pairs {
		echo, fork, err := execFloors(ctx, m, box)
		if err != nil {
			return result{}, err
		}
		// The daemon was ended for the floors: this exec starts it again and makes its connection.
		if _, err := m.banger(ctx, "vm", "exec", "box", "--", "true"); err != nil {
			return result{}, err
		}
		start, err := m.timed(ctx, "version", "--client")
		if err != nil {
			return result{}, err
		}
		took, err := m.timed(ctx, "vm", "exec", "box", "--", "true")
		if err != nil {
			return result{}, err
		}
		echoes, forks, starts = append(echoes, echo), append(forks, fork), append(starts, start)
		pairs = append(pairs, pair{echo + fork, took, echo + fork + 6*time.Millisecond})
	}
	r := paired("`vm exec box -- true`", "E + X: one-byte echo over the channel, and fork, exec, wait in the guest", "E + X + 6 ms", pairs)
	r.notes = []string{fmt.Sprintf("Medians: E %s, X %s; starting and ending the CLI alone (`banger version --client`) %s.",
		milliseconds(median(echoes)), milliseconds(median(forks)), milliseconds(median(starts)))}
	return r, nil
}

// execFloors takes the guest's channel, which no daemon may hold then.
func execFloors(ctx context.Context, m *home, v vm) (echo, fork time.Duration, err error) {
	if _, err := m.banger(ctx, "daemon", "stop"); err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, floorsLimit)
	defer cancel()
	g, err := agentIn(ctx, v.dir)
	if err != nil {
		return 0, 0, err
	}
	defer g.Close()
	var echoes []time.Duration
	for range rounds {
		begun := time.Now()
		if _, err := g.Ping(ctx, []byte{'x'}); err != nil {
			return 0, 0, err
		}
		echoes = append(echoes, time.Since(begun))
	}
	forks, err := g.Measure(ctx, model.ExecSpec{Argv: []string{"true"}}, rounds)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot measure fork, exec and wait in the guest: %w", err)
	}
	return median(echoes), median(forks), nil
}

// settle waits until the guest's own services have started: until then they take what they can of the processor.
func settle(ctx context.Context, m *home, name string) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	_, err := m.banger(ctx, append([]string{"vm", "exec", name, "--"}, settled...)...)
	return err
}

// settleLimit is far above what that takes on a host that is very busy.
const settleLimit = 5 * time.Minute

// settled ends once systemd says that all has started, whether well or not. Asked early, before its bus is there, it
// answers at once: then it is asked again.
var settled = []string{"sh", "-c", "until systemctl is-system-running --wait | grep -qE 'running|degraded'; do sleep 0.2; done"}
