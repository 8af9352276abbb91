package main

import (
	"context"
	"fmt"
	"time"

	"banger/internal/unixsocket"
)

const (
	watchPairs = 3 // of a stretch each
	watchTime  = time.Minute
	// watchSettle is longer than a new network is looked at closely by itself.
	watchSettle = 45 * time.Second
	// watchBegin lets pass what a client's coming costs.
	watchBegin = 5 * time.Second
)

// benchWatching measures what looking for the guest's listeners costs: two VMs, one of which is not looked at, share each
// stretch of time.
func benchWatching(ctx context.Context, s *session) ([]result, error) {
	off, err := newWatched(ctx, s.host, "none")
	if err != nil {
		return nil, err
	}
	defer off.m.close()
	on, err := newWatched(ctx, s.host, "auto")
	if err != nil {
		return nil, err
	}
	defer on.m.close()
	if err := pass(ctx, watchSettle); err != nil {
		return nil, err
	}
	stretches := min(watchPairs, s.pairs)
	idle, err := watch(ctx, "CPU time of an idle VM with `--ports auto`, per second", stretches, off, on)
	if err != nil {
		return nil, err
	}
	var ended []<-chan error
	for _, w := range []*watched{off, on} {
		// A command of a client's is what has the guest looked at closely. It ends with its VM.
		one, err := follower(w.m.command(ctx, "vm", "exec", "box", "--", "sleep", "infinity"))()
		if err != nil {
			return nil, err
		}
		ended = append(ended, one)
	}
	if err := pass(ctx, watchBegin); err != nil {
		return nil, err
	}
	attached, err := watch(ctx, "the same while a client is attached to a command in it", stretches, off, on)
	if err != nil {
		return nil, err
	}
	for _, one := range ended {
		select {
		case err := <-one:
			return nil, fmt.Errorf("the client that was to be attached is gone: %w", err)
		default:
		}
	}
	return []result{idle, attached}, nil
}

// watched is a VM whose processes' time is taken.
type watched struct {
	m    *home
	pids map[string]int
}

// watchedParts are the processes that a running VM has to do with.
var watchedParts = [...]string{"VMM", "daemon", "netd"}

func newWatched(ctx context.Context, h *host, ports string) (_ *watched, err error) {
	m, err := h.newHome(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if err := m.startVM(ctx, "box", "--ports", ports); err != nil {
		return nil, err
	}
	if err := settle(ctx, m, "box"); err != nil {
		return nil, err
	}
	box, err := m.find(ctx, "box")
	if err != nil {
		return nil, err
	}
	w := &watched{m: m, pids: map[string]int{}}
	if w.pids["VMM"], err = vmmPID(box.dir); err != nil {
		return nil, err
	}
	if w.pids["daemon"], err = m.daemonPID(ctx); err != nil {
		return nil, err
	}
	w.pids["netd"], err = m.netdPID(ctx)
	return w, err
}

// netdPID is the kernel's word on who listens on netd's socket.
func (m *home) netdPID(ctx context.Context) (int, error) {
	conn, err := unixsocket.Dial(ctx, m.dirs.NetdSocket())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_, pid, err := unixsocket.PeerCred(conn)
	return pid, err
}

// used is what each process has used so far.
func (w *watched) used() (map[string]time.Duration, error) {
	times := map[string]time.Duration{}
	for _, part := range watchedParts {
		used, err := exactCPUTime(w.pids[part])
		if err != nil {
			return nil, fmt.Errorf("cannot tell the CPU time of the %s: %w", part, err)
		}
		times[part] = used
	}
	return times, nil
}

// watch takes the time of both VMs over the same stretches.
func watch(ctx context.Context, what string, stretches int, off, on *watched) (result, error) {
	var pairs []pair
	parts := map[string][]pair{}
	for range stretches {
		begun := time.Now()
		var before, after [2]map[string]time.Duration
		for i, w := range []*watched{off, on} {
			var err error
			if before[i], err = w.used(); err != nil {
				return result{}, err
			}
		}
		if err := pass(ctx, watchTime); err != nil {
			return result{}, err
		}
		for i, w := range []*watched{off, on} {
			var err error
			if after[i], err = w.used(); err != nil {
				return result{}, err
			}
		}
		seconds := time.Since(begun).Seconds()
		var whole pair
		for _, part := range watchedParts {
			p := pair{
				floor:   time.Duration(float64(after[0][part]-before[0][part]) / seconds),
				product: time.Duration(float64(after[1][part]-before[1][part]) / seconds),
			}
			parts[part] = append(parts[part], p)
			whole.floor, whole.product = whole.floor+p.floor, whole.product+p.product
		}
		pairs = append(pairs, whole)
	}
	r := beside(what, "the same with `--ports none`, in the same minute", pairs)
	r.notes = []string{"| process | with none | with auto |", "|---|---|---|"}
	for _, part := range watchedParts {
		r.notes = append(r.notes, fmt.Sprintf("| %s | %s | %s |", part,
			milliseconds(median(each(parts[part], func(p pair) time.Duration { return p.floor }))),
			milliseconds(median(each(parts[part], func(p pair) time.Duration { return p.product })))))
	}
	return r, nil
}
