package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// inLab measures a group in the lab, where this program runs again, and returns its table. What that says meanwhile is
// passed on.
func inLab(ctx context.Context, g group) (string, error) {
	conditions := "- the lab's host: " + machine() + "\n"
	command := fmt.Sprintf("BENCH=%s BENCH_PAIRS=%d exec /opt/lab/bin/bench -here", strings.Join(g.rowNames(), ","), number("BENCH_PAIRS", g.pairs()))
	var all bytes.Buffer
	cmd := exec.CommandContext(ctx, "scripts/lab.sh", "bench", command)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&all, os.Stderr), os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute // a lab takes a moment to end
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("cannot measure in the lab: %w; when its own kernel was lost, which happens, run it again", err)
	}
	_, rest, begun := strings.Cut(all.String(), g.beginMark()+"\n")
	text, _, ended := strings.Cut(rest, "\n"+g.endMark())
	if !begun || !ended {
		return "", errors.New("cannot find a table in what the lab says")
	}
	return conditions + text, nil
}

func (g group) rowNames() []string { return each(g.rows, func(r row) string { return r.name }) }
