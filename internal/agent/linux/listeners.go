package linux

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/agent"
)

const (
	// soon is how often the listeners are looked at while that matters, late how often otherwise: a guest that does
	// nothing is woken four times a minute. The kernel tells nobody of a new listener.
	soon = time.Second
	late = 15 * time.Second
	// settling is how long a guest is watched closely after it was given a network: its services start.
	settling = 30 * time.Second
	// busyShare is the part of one processor's time above which a guest counts as active.
	busyShare = 0.05

	maxTableBytes = 4 << 20 // of /proc/net/tcp: some 28,000 sockets
)

// WatchListeners reports the ports that the guest listens on, at once and after each change, until ctx ends. It looks
// closely while eager says so or the guest's processors work, and rarely otherwise.
func (s *System) WatchListeners(ctx context.Context, eager func() bool, report func(ports []uint16) error) error {
	var told []uint16
	begin := time.Now()
	load := newLoad()
	for first := true; ; first = false {
		now, err := listeners()
		if err != nil {
			return err
		}
		if first || !slices.Equal(now, told) {
			if err := report(now); err != nil {
				return err
			}
			told = now
		}
		busy := load.busy()
		pause := late
		if busy || eager() || time.Since(begin) < settling {
			pause = soon
		}
		if err := s.pause(ctx, pause); err != nil {
			return err
		}
	}
}

// pause waits, and no longer than until a command is started in the guest.
func (s *System) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.started:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// listeners returns the TCP ports that others can reach, in order. A guest without IPv6 has one table.
func listeners() ([]uint16, error) {
	var ports []uint16
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		file, err := os.Open(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ports = append(ports, parseListeners(io.LimitReader(file, maxTableBytes))...)
		file.Close()
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	return ports[:min(len(ports), agent.MaxListeners)], nil
}

// parseListeners reads a table of sockets (proc(5)): the second field is the local address, its words in the machine's
// byte order, and the port; the fourth the state. A listener on loopback is no business of others.
func parseListeners(table io.Reader) []uint16 {
	const listening = "0A"
	var ports []uint16
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != listening {
			continue
		}
		address, port, ok := strings.Cut(fields[1], ":")
		number, err := strconv.ParseUint(port, 16, 16)
		if !ok || err != nil || number == 0 || isLoopback(address) {
			continue
		}
		ports = append(ports, uint16(number))
	}
	return ports
}

// isLoopback says whether a table's address is 127.0.0.0/8, ::1 or the former as IPv6.
func isLoopback(text string) bool {
	raw, err := hex.DecodeString(text)
	switch {
	case err != nil:
		return true
	case len(raw) == 4:
		return raw[3] == 127
	case len(raw) == 16 && text[:24] == "0000000000000000FFFF0000":
		return raw[15] == 127
	}
	return text == "00000000000000000000000001000000"
}

// load tells whether the guest's processors have worked since the last look.
type load struct {
	at   time.Time
	used time.Duration
}

func newLoad() *load { return &load{time.Now(), usedTime()} }

func (l *load) busy() bool {
	now, used := time.Now(), usedTime()
	share := float64(used-l.used) / float64(now.Sub(l.at))
	l.at, l.used = now, used
	return share > busyShare
}

// usedTime is what all processors together have worked, without the agent's own part, which is the looking.
func usedTime() time.Duration {
	file, err := os.Open("/proc/stat")
	if err != nil {
		return 0
	}
	defer file.Close()
	line, _ := bufio.NewReader(io.LimitReader(file, 4096)).ReadString('\n')
	var ticks uint64
	for i, field := range strings.Fields(line) {
		if n, err := strconv.ParseUint(field, 10, 64); err == nil && i != 4 && i != 5 && i < 9 { // neither idle nor iowait
			ticks += n
		}
	}
	const tick = time.Second / 100 // USER_HZ
	total := time.Duration(ticks) * tick
	var own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err == nil {
		total -= time.Duration(own.Utime.Nano() + own.Stime.Nano())
	}
	return total
}
