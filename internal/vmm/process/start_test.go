package process

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/procs"
	"banger/internal/userns"
)

// TestStart checks what a VMM is given, and with a network of its own, what it cannot see. It runs by itself: a program that
// another test starts would hold the lock for a moment.
func TestStart(t *testing.T) {
	const sh = "/bin/sh"
	ownable := userns.Try() == nil
	for _, own := range []bool{false, true} {
		if own && !ownable {
			t.Skip("not run: needs user namespaces")
		}
		dir := t.TempDir()
		path := filepath.Join(dir, "lock")
		lock, err := procs.TryLock(path)
		if err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		child, coreErr, err := Start(Command{
			Argv: []string{sh, "-c", "pwd; wc -l </proc/net/dev; id -u; echo end; exec sleep 1000"}, Dir: dir,
			Lock: lock, Output: w, OwnNetwork: own,
		})
		w.Close()
		lock.Close()
		if err != nil || coreErr != nil {
			t.Fatal(err, coreErr)
		}
		var said []string
		lines := bufio.NewScanner(r)
		for len(said) < 4 && lines.Scan() {
			said = append(said, strings.TrimSpace(lines.Text()))
		}
		if held, err := procs.Locked(path); err != nil || !held {
			t.Errorf("the lock is not the process's: %v, %v", held, err)
		}
		if err := child.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-child.Reaped()
		if held, err := procs.Locked(path); err != nil || held {
			t.Errorf("the lock outlives the process: %v, %v", held, err)
		}
		if len(said) != 4 || said[0] != dir {
			t.Fatalf("it says %q", said)
		}
		if own && (said[1] != "3" || said[2] != "0") { // two lines of headers and the loopback
			t.Errorf("in a network of its own it sees %s lines of devices, as user %s", said[1], said[2])
		}
	}
}
