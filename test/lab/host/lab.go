package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"banger/test/lab/wire"
)

const (
	wakeAfter   = wire.Beat * 3 / 2 // of silence, the lab is woken, and again after as much
	warnAfter   = time.Minute       // of silence, the console is shown
	lostAfter   = 4 * time.Minute   // of silence, the lab is given up
	bootLimit   = 10 * time.Minute  // for a boot that is never silent
	rebootLimit = 15 * time.Minute  // for what runs to end, too
)

// lost is why a lab is of no more use: its own kernel froze, panicked or began anew.
type lost struct{ reason string }

func (l lost) Error() string { return "the lab's own kernel " + l.reason }

// lab is a machine that has booted.
type lab struct {
	*machine
	conn   *wire.Conn
	events chan wire.Event
	booted string // how long that took
}

// startLab boots a lab and waits until it can be asked for something.
func startLab(ctx context.Context, f files, log io.Writer) (*lab, error) {
	begin := time.Now()
	m, err := startMachine(ctx, f, log)
	if err != nil {
		return nil, err
	}
	l := watch(m)
	boot, cancel := context.WithTimeoutCause(ctx, bootLimit, fmt.Errorf("it has not booted after %v", bootLimit))
	defer cancel()
	if _, err := l.wait(boot, wire.KindHello, nil, nil); err != nil {
		l.stop()
		return nil, fmt.Errorf("cannot boot the lab: %w", err)
	}
	l.booted = fmt.Sprintf("booted in %.0f s, %.0f s of a processor", time.Since(begin).Seconds(), m.cpu().Seconds())
	return l, nil
}

// watch begins to listen to a machine.
func watch(m *machine) *lab {
	l := &lab{machine: m, conn: wire.NewConn(m.wire), events: make(chan wire.Event)}
	go l.receive()
	return l
}

// receive hands on events until the machine ends.
func (l *lab) receive() {
	defer close(l.events)
	for {
		var e wire.Event
		if err := l.conn.Receive(&e); err != nil {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "lab:", err)
			}
			return
		}
		select {
		case l.events <- e:
		case <-l.done:
			return
		}
	}
}

// do has a request carried out. What it says goes to out, the files that it leaves to keep.
func (l *lab) do(ctx context.Context, r wire.Request, out io.Writer, keep *results) (wire.Event, error) {
	if err := l.conn.Send(r); err != nil {
		return wire.Event{}, errors.Join(lost{"does not listen any more"}, err)
	}
	return l.wait(ctx, wire.KindDone, out, keep)
}

// reboot has the lab reboot itself, as a host does.
func (l *lab) reboot(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, rebootLimit, fmt.Errorf("the lab has not come back from a reboot after %v", rebootLimit))
	defer cancel()
	if err := l.conn.Send(wire.Request{Op: wire.OpReboot}); err != nil {
		return err
	}
	_, err := l.wait(limited, wire.KindHello, nil, nil)
	return err
}

// wait handles events until one of a kind comes, and watches over the lab meanwhile. While it boots, its console counts
// as a sign of life.
func (l *lab) wait(ctx context.Context, kind string, out io.Writer, keep *results) (wire.Event, error) {
	heard, warned := time.Now(), false
	timer := time.NewTimer(wakeAfter)
	defer timer.Stop()
	for {
		select {
		case e, ok := <-l.events:
			if !ok {
				<-l.done
				return wire.Event{}, l.err
			}
			heard, warned = time.Now(), false
			if e.Kind == kind {
				return e, nil
			}
			if err := take(e, out, keep); err != nil {
				return e, err
			}
		case <-timer.C:
			if spoke := l.console.spoken(); kind == wire.KindHello && spoke.After(heard) {
				heard, warned = spoke, false
			}
			next, err := l.silent(time.Since(heard), &warned)
			if err != nil {
				return wire.Event{}, err
			}
			timer.Reset(next)
		case <-l.console.panicked:
			return wire.Event{}, l.panicked()
		case <-l.done:
			return wire.Event{}, l.err
		case <-ctx.Done():
			return wire.Event{}, context.Cause(ctx)
		}
	}
}

// take handles an event that nobody waits for.
func take(e wire.Event, out io.Writer, keep *results) error {
	switch {
	case e.Kind == wire.KindHello:
		return lost{"has booted again unasked"}
	case e.Kind == wire.KindOutput && out != nil:
		_, _ = io.WriteString(out, e.Text)
	case e.Kind == wire.KindFile && keep != nil:
		keep.add(e.File, e.Data)
	}
	return nil
}

// silent wakes a lab that says nothing, tells once when that is for long, and gives it up after longer. It returns when to
// look again.
func (l *lab) silent(since time.Duration, warned *bool) (next time.Duration, err error) {
	if since >= lostAfter {
		return 0, lost{fmt.Sprintf("has not been heard of for %.0f s", since.Seconds())}
	}
	if since >= wakeAfter {
		l.wake()
	}
	if since >= warnAfter && !*warned {
		*warned = true
		fmt.Fprintf(os.Stderr, "lab: nothing heard for %.0f s; the end of its console:\n%s\n", since.Seconds(), l.console.text())
	}
	next = wakeAfter
	if since < wakeAfter {
		next -= since
	}
	return max(min(next, lostAfter-since), time.Second), nil
}

// wake interrupts the lab's processor, by a line that means nothing. QEMU 7.2 can lose the news of an interrupt while a
// machine runs in the lab: the processor is found halted, with interrupts enabled and that of its timer, which is to be set
// again by whoever handles it, pending in its APIC. Any other interrupt has both handled.
func (l *lab) wake() {
	_ = l.machine.wire.SetWriteDeadline(time.Now().Add(time.Second)) // nobody may listen; that it fails is seen in time
	_, _ = l.machine.wire.Write([]byte("\n"))
	_ = l.machine.wire.SetWriteDeadline(time.Time{})
}

// panicked shows what the kernel says.
func (l *lab) panicked() error {
	select { // the rest of its message
	case <-time.After(2 * time.Second):
	case <-l.done:
	}
	fmt.Fprintf(os.Stderr, "lab: the end of its console:\n%s\n", l.console.text())
	return lost{"panicked"}
}
