package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const hogArgument = "hog"

// hog keeps one core busy until it is killed.
func hog([]string) error {
	for { //nolint:staticcheck // to spin is its purpose
	}
}

func benchHog(ctx context.Context, s *session) (result, error) {
	m, err := s.newHome(ctx)
	if err != nil {
		return result{}, err
	}
	defer m.close()
	stop, err := startHogs()
	if err != nil {
		return result{}, err
	}
	defer stop()
	var took []time.Duration
	failures := 0
	r := result{
		what: fmt.Sprintf("%d boots with a CPU hog on every core", s.boots), target: "0 failures",
	}
	for range s.boots {
		begun := time.Now()
		out, err := m.banger(ctx, "vm", "run", "--quiet", "--", "echo", "x")
		if err == nil && out != "x" {
			err = fmt.Errorf("banger vm run said %q", out)
		}
		if err != nil && ctx.Err() == nil {
			failures++
			r.notes = append(r.notes, "- "+err.Error())
		}
		took = append(took, time.Since(begun))
	}
	r.product = fmt.Sprintf("%d failures, %s each", failures, milliseconds(median(took)))
	r.met = "yes"
	if failures > 0 {
		r.met = "no"
	}
	return r, nil
}

// startHogs starts one hog per core, in processes that end with this one.
func startHogs() (stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var hogs []*exec.Cmd
	stop = func() {
		for _, h := range hogs {
			_ = h.Process.Kill()
			_ = h.Wait() // it was killed: its end is no news
		}
	}
	for range runtime.NumCPU() {
		h := exec.Command(self, hogArgument)
		h.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := h.Start(); err != nil {
			stop()
			return nil, errors.Join(errors.New("cannot start a hog"), err)
		}
		hogs = append(hogs, h)
	}
	return stop, nil
}
