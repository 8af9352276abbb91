package scenario

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// cmdTerminal runs a command in a terminal of its own, driven by a script, and requires its exit code:
// `terminal CODE|any SCRIPT banger …`. The script's lines are
//
//	expect REGEXP    wait for it in what came since the last match
//	send TEXT        type it and press Enter
//	key CODE         send one byte: key 3 is Ctrl-C, key 4 is Ctrl-D
//	resize ROWS COLS
//	hangup           take the terminal away
//
// All that the terminal showed can be looked at with stdout.
func cmdTerminal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: terminal CODE SCRIPT command…")
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout())
	defer cancel()
	cmd := command(ctx, ts, args[2:])
	tty, err := startInTerminal(cmd)
	ts.Check(err)
	s := newScreen(tty)
	defer func() {
		tty.Close()
		<-s.ended
	}()
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		if line = strings.TrimSpace(line); line != "" {
			terminalStep(ts, tty, s, line)
		}
	}
	err = cmd.Wait()
	s.finish(patient(10 * time.Second))
	_, _ = io.WriteString(ts.Stdout(), s.text())
	if args[0] != "any" {
		want, convErr := strconv.Atoi(args[0])
		ts.Check(convErr)
		requireCode(ts, err, want)
	}
}

// startInTerminal starts cmd in a new terminal and returns the terminal's other end. Reads of it end when it is closed,
// which pty's own file does not promise: it blocks.
func startInTerminal(cmd *exec.Cmd) (*os.File, error) {
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		return nil, err
	}
	defer tty.Close()
	fd, err := unix.FcntlInt(tty.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "terminal"), nil
}

func resize(tty *os.File, rows, cols uint16) error {
	raw, err := tty.SyscallConn()
	if err != nil {
		return err
	}
	var ioctlErr error
	err = raw.Control(func(fd uintptr) {
		ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
	return errors.Join(err, ioctlErr)
}

func terminalStep(ts *testscript.TestScript, tty *os.File, s *screen, line string) {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "expect":
		if !s.expect(regexp.MustCompile("(?m)"+rest), waitTimeout()) {
			ts.Fatalf("the terminal does not show %q: %q", rest, s.text())
		}
	case "send":
		_, err := io.WriteString(tty, rest+"\r")
		ts.Check(err)
	case "key":
		code, err := strconv.ParseUint(rest, 10, 8)
		ts.Check(err)
		_, err = tty.Write([]byte{byte(code)})
		ts.Check(err)
	case "resize":
		rows, cols, _ := strings.Cut(rest, " ")
		r, err := strconv.ParseUint(rows, 10, 16)
		ts.Check(err)
		c, err := strconv.ParseUint(cols, 10, 16)
		ts.Check(err)
		ts.Check(resize(tty, uint16(r), uint16(c)))
	case "hangup":
		ts.Check(tty.Close())
	default:
		ts.Fatalf("a terminal script has no %q", verb)
	}
}

// screen collects what a terminal shows.
type screen struct {
	mu      sync.Mutex
	all     []byte
	seen    int           // what expect has gone past
	changed chan struct{} // closed and replaced when all grows
	ended   chan struct{} // closed when nothing more comes
}

func newScreen(tty io.Reader) *screen {
	s := &screen{changed: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		chunk := make([]byte, 4096)
		for {
			n, err := tty.Read(chunk)
			s.add(chunk[:n])
			if err != nil { // EIO once the last program has closed it
				return
			}
		}
	}()
	return s
}

func (s *screen) add(text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, text...)
	close(s.changed)
	s.changed = make(chan struct{})
}

// finish waits until all is here that was written before the last program closed the terminal.
func (s *screen) finish(limit time.Duration) {
	select {
	case <-s.ended:
	case <-time.After(limit):
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.all)
}

// match looks for the pattern past the last match and returns what to wait on when it is not there yet.
func (s *screen) match(pattern *regexp.Regexp) (bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := pattern.FindIndex(s.all[s.seen:]); at != nil {
		s.seen += at[1]
		return true, nil
	}
	return false, s.changed
}

func (s *screen) expect(pattern *regexp.Regexp, limit time.Duration) bool {
	end := time.After(limit)
	for {
		found, changed := s.match(pattern)
		if found {
			return true
		}
		select {
		case <-changed:
		case <-s.ended:
			found, _ = s.match(pattern)
			return found
		case <-end:
			return false
		}
	}
}
