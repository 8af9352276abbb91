package main

import (
	"cmp"
	"context"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// share has so many testers run scenarios at once, those that may take longest first.
func (t *tester) share(ctx context.Context, all []*script, labs int) ([]*tester, error) {
	slices.SortStableFunc(all, func(a, b *script) int { return cmp.Compare(b.limit, a.limit) })
	queue := make(chan *script, len(all))
	for _, s := range all {
		queue <- s
	}
	close(queue)
	var testers []*tester
	for range labs {
		keep, err := newResults(t.setup.cache)
		if err != nil {
			return nil, err
		}
		testers = append(testers, &tester{setup: t.setup, keep: keep, out: t.out})
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, one := range testers {
		g.Go(func() error { return one.scenarios(ctx, queue) })
	}
	return testers, g.Wait()
}

// scenarios runs those of a queue until it is empty.
func (t *tester) scenarios(ctx context.Context, queue <-chan *script) error {
	runtime.LockOSThread() // QEMU ends with the thread that started it
	defer t.stop()
	for s := range queue {
		if err := t.scenario(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// add counts another tester's scenarios.
func (t *tester) add(other *tester) {
	t.labs += other.labs
	t.passed += other.passed
	t.failed = append(t.failed, other.failed...)
	t.repeated = append(t.repeated, other.repeated...)
	t.notRun = append(t.notRun, other.notRun...)
}
