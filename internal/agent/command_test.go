package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	agentv1 "banger/api/agent/v1"
	"banger/internal/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a process whose test decides what it does. It ends by the signals in deadly.
type script struct {
	out, errOut, in net.Conn // the process's ends
	ours            [3]net.Conn
	deadly          []int

	mu      sync.Mutex
	signals []int
	ended   chan struct{}
	exit    Exit
}

func newScript(deadly ...int) *script {
	s := &script{deadly: deadly, ended: make(chan struct{})}
	s.ours[0], s.in = net.Pipe()
	s.ours[1], s.out = net.Pipe()
	s.ours[2], s.errOut = net.Pipe()
	return s
}

func (s *script) end(e Exit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended:
		return
	default:
	}
	s.exit = e
	s.out.Close()
	s.errOut.Close()
	close(s.ended)
}

func (s *script) Stdin() io.WriteCloser { return s.ours[0] }
func (s *script) Stdout() Reader        { return s.ours[1] }
func (s *script) Stderr() Reader        { return s.ours[2] }

func (s *script) Wait() Exit {
	<-s.ended
	return s.exit
}

func (s *script) Signal(number int) error {
	s.mu.Lock()
	s.signals = append(s.signals, number)
	s.mu.Unlock()
	if slices.Contains(s.deadly, number) {
		s.end(Exit{Signal: number})
	}
	return nil
}

func (s *script) SignalAll(number int) error  { return s.Signal(number) }
func (s *script) Resize(uint16, uint16) error { return nil }
func (s *script) Close() error                { return s.in.Close() }

func (s *script) got() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.signals)
}

// scripted is a System whose processes are given.
type scripted struct{ next *script }

func (scripted) BootID() string                          { return "boot" }
func (scripted) TimerRate() float64                      { return 1 }
func (scripted) Configure(context.Context, Config) error { return nil }
func (scripted) WatchListeners(context.Context, func() bool, func([]uint16) error) error {
	return nil
}
func (scripted) Root() string                     { return "/nowhere" }
func (scripted) Account(string) (int, int, error) { return 0, 0, nil }
func (scripted) Sync() error                      { return nil }
func (scripted) Stop(time.Duration) error         { return nil }
func (s scripted) Start(Command) (Process, error) { return s.next, nil }

func startScript(t *testing.T, s *script, timeout time.Duration) *command {
	t.Helper()
	c := newCommand("c", newTable())
	if err := c.table.reserve(c); err != nil {
		t.Fatal(err)
	}
	if err := c.run(scripted{s}, Command{}, timeout); err != nil {
		t.Fatal(err)
	}
	return c
}

func expectSignals(t *testing.T, s *script, want ...int) {
	t.Helper()
	synctest.Wait()
	if got := s.got(); !slices.Equal(got, want) {
		t.Errorf("at %s: signals %v, want %v", time.Now().Format("05.000"), got, want)
	}
}

func expectKnown(t *testing.T, c *command, want bool) {
	t.Helper()
	synctest.Wait()
	if _, err := c.table.get(c.id); (err == nil) != want {
		t.Errorf("the command is known: %v, want %v", err == nil, want)
	}
}

func TestTimeoutIsTermThenKill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newScript(9)
		c := startScript(t, s, time.Minute)
		time.Sleep(time.Minute - 1)
		expectSignals(t, s)
		time.Sleep(time.Nanosecond)
		expectSignals(t, s, 15)
		time.Sleep(killAfter - 1)
		expectSignals(t, s, 15)
		time.Sleep(time.Nanosecond)
		expectSignals(t, s, 15, 9)
		if want := (model.ExecStatus{Code: 124, Signal: 9, TimedOut: true}); c.exit == nil || *c.exit != want {
			t.Errorf("exit = %+v, want %+v", c.exit, want)
		}
		c.table.forget(c)
	})
}

func TestAbandonedCommandIsHungUpOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newScript(9)
		c := startScript(t, s, 0)
		time.Sleep(time.Hour) // nobody was attached yet: a detached command may run for ever
		expectSignals(t, s)

		first := c.attach(&agentv1.AttachOpen{})
		c.detach(first, false)
		time.Sleep(hangupAfter - 1)
		second := c.attach(&agentv1.AttachOpen{}) // just in time
		time.Sleep(time.Hour)
		expectSignals(t, s)

		c.detach(first, false) // a late end of the first means nothing
		time.Sleep(time.Hour)
		expectSignals(t, s)

		c.detach(second, false)
		time.Sleep(hangupAfter)
		expectSignals(t, s, 1)
		time.Sleep(hangupAfter)
		expectSignals(t, s, 1, 9)
		time.Sleep(collectWithin - 1)
		expectKnown(t, c, true)
		time.Sleep(time.Nanosecond)
		expectKnown(t, c, false)
	})
}

func TestEndIsRememberedUntilCollected(t *testing.T) {
	t.Parallel()
	for _, collected := range []bool{true, false} {
		t.Run(fmt.Sprint("collected ", collected), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newScript()
				c := startScript(t, s, 0)
				at := c.attach(&agentv1.AttachOpen{})
				s.end(Exit{Code: 3})
				time.Sleep(time.Hour)
				expectKnown(t, c, true)
				c.detach(at, collected)
				expectKnown(t, c, !collected)
				time.Sleep(hangupAfter)
				expectKnown(t, c, false)
			})
		})
	}
}

func TestOutputWaitsForItsReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		c := startScript(t, s, 0)
		at := c.attach(&agentv1.AttachOpen{})
		const size = 4 << 20
		written := 0
		go func() {
			for block := make([]byte, 1<<10); written < size; written += len(block) {
				if _, err := s.out.Write(block); err != nil {
					t.Errorf("write: %v", err)
					break
				}
			}
			s.end(Exit{})
		}()
		synctest.Wait()
		if written > maxUnsent+chunk {
			t.Errorf("%d bytes were taken from the process with a reader that reads nothing", written)
		}
		var got int64
		for end := false; !end; {
			synctest.Wait()
			m, _ := c.news(at, false)
			if m == nil {
				t.Fatalf("nothing to read after %d bytes", got)
			}
			if m.GetStdoutOffset() != got && len(m.GetStdout()) > 0 {
				t.Fatalf("a piece at %d, want it at %d", m.GetStdoutOffset(), got)
			}
			got += int64(len(m.GetStdout()))
			end = m.GetEnd()
		}
		if got != size {
			t.Errorf("got %d bytes, want %d", got, size)
		}
		c.detach(at, true)
	})
}

func TestDetachedOutputKeepsItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		c := startScript(t, s, 0)
		const size = 3 * ringMax
		for range size / 1024 {
			if _, err := s.out.Write(make([]byte, 1024)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		at := c.attach(&agentv1.AttachOpen{})
		m, _ := c.news(at, true)
		if want := int64(size - ringMax); m.GetStdoutOffset() != want {
			t.Errorf("the oldest byte kept is %d, want %d", m.GetStdoutOffset(), want)
		}
		s.end(Exit{})
		synctest.Wait()
		c.detach(at, true)
	})
}

func TestInputBeyondTheCreditIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		c := startScript(t, s, 0)
		at := c.attach(&agentv1.AttachOpen{})
		m, _ := c.news(at, true)
		if m.GetStdinCredit() != inputWindow {
			t.Errorf("credit = %d, want %d", m.GetStdinCredit(), inputWindow)
		}
		if err := c.push(make([]byte, inputWindow)); err != nil {
			t.Errorf("input within the credit: %v", err)
		}
		if err := c.push([]byte{1}); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("input beyond the credit: %v, want ErrInvalid", err)
		}
		synctest.Wait()
		c.detach(at, false)
		again := c.attach(&agentv1.AttachOpen{})
		if m, _ := c.news(again, true); m.GetStdinCredit() != 0 {
			t.Errorf("credit with a full buffer = %d, want 0", m.GetStdinCredit())
		}
		s.end(Exit{})
		synctest.Wait()
		c.detach(again, true)
	})
}

func TestTable(t *testing.T) {
	t.Parallel()
	table := newTable()
	add := func(i int) (*command, error) {
		c := newCommand(fmt.Sprint(i), table)
		return c, table.reserve(c)
	}
	var all []*command
	for i := range maxLive {
		c, err := add(i)
		if err != nil {
			t.Fatalf("command %d: %v", i, err)
		}
		all = append(all, c)
	}
	if _, err := add(7); !errors.Is(err, model.ErrExists) {
		t.Errorf("an id twice: %v, want ErrExists", err)
	}
	if _, err := add(maxLive); !errors.Is(err, model.ErrNoSpace) {
		t.Errorf("one too many: %v, want ErrNoSpace", err)
	}
	for _, c := range all[:maxEnded+1] {
		table.end(c)
		table.end(c)
	}
	if _, err := table.get("0"); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("the oldest of too many ended: %v, want ErrNotFound", err)
	}
	if _, err := table.get("1"); err != nil {
		t.Errorf("the next oldest: %v", err)
	}
	if _, err := add(maxLive); err != nil {
		t.Errorf("after some have ended: %v", err)
	}
}

func TestRing(t *testing.T) {
	t.Parallel()
	var r ring
	var all []byte
	for i := 0; len(all) < 3*ringMax; i++ {
		piece := make([]byte, 1+i*37%5000)
		for j := range piece {
			piece[j] = byte(len(all) + j*7)
		}
		r.write(piece)
		all = append(all, piece...)
		if r.end != int64(len(all)) || r.end-r.start > ringMax || (len(all) <= ringMax && r.start != 0) {
			t.Fatalf("after %d bytes: from %d to %d", len(all), r.start, r.end)
		}
		from := max(r.start, r.end-3000)
		if data, at := r.read(from, 10_000); at != from || string(data) != string(all[from:]) {
			t.Fatalf("after %d bytes: read at %d gives %d bytes at %d", len(all), from, len(data), at)
		}
	}
	if data, at := r.read(0, 10); at != r.start || string(data) != string(all[at:at+10]) {
		t.Errorf("a read of what is gone begins at %d, want the oldest, %d", at, r.start)
	}
	if data, _ := r.read(r.end, 10); data != nil {
		t.Errorf("a read at the end gives %d bytes", len(data))
	}
}
