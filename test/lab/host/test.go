package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"banger/internal/atomicfile"
	"banger/test/lab/wire"
)

// tester runs scenarios in a lab, and in another one when that is lost. There may be several, each with a lab of its own.
type tester struct {
	setup      *setup
	keep       *results
	out        io.Writer
	lab        *lab // nil for none
	labs       int
	usedBefore time.Duration // the processor's time of labs that are gone
	passed     int
	failed     []string
	repeated   []string
	notRun     []string
}

// test runs the scenarios.
func test(ctx context.Context, o options) (code int, err error) {
	begin := time.Now()
	all, err := scenarios(filepath.Join(o.payload, "testdata"), o.run)
	if err != nil {
		return 1, err
	}
	s, err := prepare(ctx, o.payload, true)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	sum := &tester{setup: s, out: os.Stderr}
	var can []*script
	for _, one := range all {
		if one.needs != "" && !s.has(one.needs) {
			sum.notRun = append(sum.notRun, fmt.Sprintf("lab %s: no %s was given (FIRECRACKER=/path, or in PATH)", one.name, one.needs))
			continue
		}
		can = append(can, one)
	}
	testers, err := sum.share(ctx, can, max(1, min(o.labs, len(can))))
	if err != nil {
		return 1, err
	}
	var kept []string
	for _, t := range testers {
		sum.add(t)
		kept = append(kept, t.keep.dir)
	}
	fmt.Fprintf(sum.out, "lab: %d passed, %d failed, %d not run, %d repeated, in %d labs and %.0f s; logs in %s\n",
		sum.passed, len(sum.failed), len(sum.notRun), len(sum.repeated), sum.labs, time.Since(begin).Seconds(), strings.Join(kept, " and "))
	for _, name := range sum.repeated {
		fmt.Fprintf(sum.out, "lab: repeated: %s\n", name)
	}
	if err := sum.sayNotRun(o.notRun); err != nil {
		return 1, err
	}
	for _, t := range testers {
		if err := errors.Join(t.keep.err, addCoverage(o.cover, t.keep)); err != nil {
			return 1, err
		}
	}
	if err := showCoverage(o.cover); err != nil {
		return 1, err
	}
	if len(sum.failed) > 0 {
		return 1, fmt.Errorf("FAILED: %s", strings.Join(sum.failed, ", "))
	}
	return 0, nil
}

// scenario runs one scenario, twice if the lab's own kernel is lost meanwhile and never otherwise. Its error is one that
// leaves no point in going on.
func (t *tester) scenario(ctx context.Context, s *script) error {
	return t.judge(ctx, s, t.attempt)
}

// judge is scenario with what it does once or twice.
func (t *tester) judge(ctx context.Context, s *script, attempt func(context.Context, *script) (*log, wire.Event, error)) error {
	begin, used := time.Now(), t.used()
	log, done, err := attempt(ctx, s)
	var gone lost
	if errors.As(err, &gone) {
		fmt.Fprintf(t.out, "lab: %s: %v; it is repeated once\n", s.name, err)
		t.repeated = append(t.repeated, fmt.Sprintf("%s: %v", s.name, err))
		t.stop()
		log, done, err = attempt(ctx, s)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil && (done.Over || log.timedOut()):
		err = fmt.Errorf("it was ended after its %v", s.limit)
	case err == nil && done.Text != "":
		err = errors.New(done.Text)
	case err == nil && done.Code != 0:
		err = fmt.Errorf("exit code %d", done.Code)
	case err == nil && !log.ran():
		err = errors.New("no such scenario was run")
	}
	took := fmt.Sprintf("%.1fs, %.1fs of a processor", time.Since(begin).Seconds(), (t.used() - used).Seconds())
	switch reason, skipped := log.skipped(); {
	case err != nil:
		t.failed = append(t.failed, s.name)
		fmt.Fprintf(t.out, "%s\nFAIL  %s  %s: %v\n", log.text(), s.name, took, err)
		t.stop() // what it left may be the next one's misfortune
	case skipped:
		t.notRun = append(t.notRun, fmt.Sprintf("lab %s: %s", s.name, reason))
	default:
		t.passed++
		fmt.Fprintf(t.out, "ok    %s  %s\n", s.name, took)
	}
	return nil
}

// attempt runs a scenario in the lab that runs, or in a new one, and what goes on with it after a reboot. The log is of
// the last of them.
func (t *tester) attempt(ctx context.Context, s *script) (*log, wire.Event, error) {
	l := &log{name: s.name, keep: t.keep, live: t.out}
	if t.lab == nil {
		t.labs++
		fresh, err := t.setup.boot(ctx, t.keep)
		if err != nil {
			return l, wire.Event{}, err
		}
		t.lab = fresh
		fmt.Fprintf(t.out, "lab: %s\n", fresh.booted)
	}
	env := t.setup.env()
	if s.next != nil {
		env = append(env, "LAB_KEPT="+filepath.Join(wire.Kept, s.name))
	}
	for {
		done, err := t.part(ctx, s, l, env)
		if err != nil || done.Code != 0 || done.Over || s.next == nil {
			return l, done, err
		}
		begin := time.Now()
		if err := t.lab.reboot(ctx); err != nil {
			return l, done, err
		}
		fmt.Fprintf(t.out, "lab: rebooted in %.0f s\n", time.Since(begin).Seconds())
		s = s.next
		l = &log{name: s.name, keep: t.keep, live: t.out}
	}
}

func (t *tester) part(ctx context.Context, s *script, l *log, env []string) (wire.Event, error) {
	fmt.Fprintf(t.out, "lab: %s, at most %v\n", s.name, s.limit)
	if s.next != nil {
		env = append(env, "LAB_GOES_ON=1")
	}
	// The lab ends it in time. Should it not even do that, though it is heard of, we do; that is no loss of its kernel.
	limited, cancel := context.WithTimeoutCause(ctx, s.limit+lostAfter+time.Minute, errors.New("the lab let it run past its limit"))
	defer cancel()
	return t.lab.do(limited, wire.Request{
		Op: wire.OpRun, Name: s.name, User: s.user, Keep: s.next != nil, Limit: s.limit, Env: env,
	}, l, t.keep)
}

// used is the processor's time of all labs so far.
func (t *tester) used() time.Duration {
	if t.lab != nil {
		return t.usedBefore + t.lab.cpu()
	}
	return t.usedBefore
}

func (t *tester) stop() {
	if t.lab != nil {
		t.usedBefore += t.lab.cpu()
		t.lab.stop()
		t.lab = nil
	}
}

func (t *tester) sayNotRun(file string) error {
	if len(t.notRun) == 0 {
		return nil
	}
	text := strings.Join(t.notRun, "\n") + "\n"
	if file == "" {
		fmt.Fprint(t.out, "lab: not run:\n", text)
		return nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// addCoverage adds what a lab covered to a directory.
func addCoverage(dir string, keep *results) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, path := range keep.coverage() {
		data, err := os.ReadFile(path)
		if err == nil {
			err = atomicfile.Write(filepath.Join(dir, filepath.Base(path)), data, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// showCoverage says how much is covered.
func showCoverage(dir string) error {
	if dir == "" {
		return nil
	}
	cmd := exec.Command("go", "tool", "covdata", "percent", "-i", dir)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}
