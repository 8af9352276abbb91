package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"banger/test/lab/wire"
)

// try is how an attempt at a scenario ends.
type try struct {
	said string // by the test program
	done wire.Event
	err  error
}

// TestALostScenarioIsRepeated checks that it is, once, and nothing else.
func TestALostScenarioIsRepeated(t *testing.T) {
	t.Parallel()
	const ran = "=== RUN   TestScripts/one\n"
	var (
		passes    = try{said: ran}
		skips     = try{said: ran + "        > skip 'no such thing'\n    --- SKIP: TestScripts/one (0.00s)\n"}
		fails     = try{said: ran, done: wire.Event{Code: 1}}
		panics    = try{said: ran, err: lost{"panicked"}}
		freezes   = try{err: fmt.Errorf("cannot boot the lab: %w", lost{"has not been heard of for 240 s"})}
		hangs     = try{said: ran, done: wire.Event{Over: true}}
		endsSelf  = try{said: ran + "\npanic: test timed out after 1m0s\n", done: wire.Event{Code: 2}}
		ends      = try{said: ran, err: errors.New("QEMU has ended")}
		overruns  = try{said: ran, err: errors.New("the lab let it run past its limit")}
		cannotRun = try{done: wire.Event{Text: "cannot run it"}}
		runsNone  = try{}
	)
	for name, test := range map[string]struct {
		tries  []try
		counts string // of passed, failed, repeated and not run
	}{
		"passes":                {[]try{passes}, "1 0 0 0"},
		"skips":                 {[]try{skips}, "0 0 0 1"},
		"fails":                 {[]try{fails}, "0 1 0 0"},
		"takes too long":        {[]try{hangs}, "0 1 0 0"},
		"ends itself":           {[]try{endsSelf}, "0 1 0 0"},
		"loses QEMU":            {[]try{ends}, "0 1 0 0"},
		"is not ended in time":  {[]try{overruns}, "0 1 0 0"},
		"cannot be run":         {[]try{cannotRun}, "0 1 0 0"},
		"is not there":          {[]try{runsNone}, "0 1 0 0"},
		"is lost":               {[]try{panics, passes}, "1 0 1 0"},
		"is lost at the boot":   {[]try{freezes, passes}, "1 0 1 0"},
		"is lost twice":         {[]try{panics, panics}, "0 1 1 0"},
		"is lost in every way":  {[]try{freezes, panics}, "0 1 1 0"},
		"is lost, then skips":   {[]try{panics, skips}, "0 0 1 1"},
		"is lost, then fails":   {[]try{panics, fails}, "0 1 1 0"},
		"is lost, then hangs":   {[]try{panics, hangs}, "0 1 1 0"},
		"is lost, then is none": {[]try{panics, runsNone}, "0 1 1 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keep, err := newResults(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			made, s := 0, &script{name: "one", limit: time.Minute}
			one := &tester{keep: keep, out: io.Discard}
			err = one.judge(t.Context(), s, func(_ context.Context, got *script) (*log, wire.Event, error) {
				l := &log{name: got.name, keep: keep, live: io.Discard}
				if made++; got != s || made > len(test.tries) {
					t.Errorf("attempt %d, at %s", made, got.name)
					return l, wire.Event{}, nil
				}
				this := test.tries[made-1]
				_, _ = io.WriteString(l, this.said)
				return l, this.done, this.err
			})
			counts := fmt.Sprint(one.passed, len(one.failed), len(one.repeated), len(one.notRun))
			if err != nil || made != len(test.tries) || counts != test.counts {
				t.Errorf("%v, %d attempts; passed, failed, repeated and not run: %s, not %s", err, made, counts, test.counts)
			}
		})
	}
}

// TestAnInterruptEndsIt checks that a scenario that is interrupted counts for nothing.
func TestAnInterruptEndsIt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	one := &tester{out: io.Discard}
	err := one.judge(ctx, &script{name: "one"}, func(context.Context, *script) (*log, wire.Event, error) {
		cancel()
		return &log{}, wire.Event{}, context.Canceled
	})
	if !errors.Is(err, context.Canceled) || one.passed+len(one.failed)+len(one.repeated)+len(one.notRun) != 0 {
		t.Errorf("%v, %+v", err, one)
	}
}
