package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// daemonLog is the daemon's log from now on.
type daemonLog struct{ *os.File }

// events are what the daemon did for one run, by its own clock.
type events struct{ operation, made, running time.Time }

func openLog(path string) (daemonLog, error) {
	f, err := os.Open(path)
	if err != nil {
		return daemonLog{}, err
	}
	_, err = f.Seek(0, io.SeekEnd)
	return daemonLog{f}, err
}

// events finds the one create that was logged since the log was opened.
func (l daemonLog) events() (e events, err error) {
	lines := bufio.NewScanner(l)
	for lines.Scan() {
		line := lines.Text()
		if !strings.Contains(line, " kind=create ") {
			continue
		}
		switch {
		case strings.Contains(line, `msg="operation begins"`):
			e.operation, err = stamp(line)
		case strings.Contains(line, " state=stopped"):
			e.made, err = stamp(line)
		case strings.Contains(line, " state=running"):
			e.running, err = stamp(line)
		}
		if err != nil {
			return e, err
		}
	}
	if e.operation.IsZero() || e.made.IsZero() || e.running.IsZero() {
		return e, fmt.Errorf("cannot find the run in the daemon's log %s", l.Name())
	}
	return e, lines.Err()
}

// stamp returns a line's time, which the log has in milliseconds.
func stamp(line string) (time.Time, error) {
	text, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
	return time.Parse(time.RFC3339Nano, text)
}
