package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/test/lab/wire"
)

const terminal = "/dev/hvc0"

// runShell runs a shell of root's on the lab's terminal.
func runShell(r wire.Request) (wire.Event, error) {
	tty, err := os.OpenFile(terminal, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return wire.Event{}, err
	}
	defer tty.Close()
	resize(r.Rows, r.Cols)
	cmd := exec.Command("/bin/bash", "--login")
	cmd.Dir = "/root"
	cmd.Env = []string{"HOME=/root", "USER=root", "LANG=C.UTF-8", "TERM=" + r.Term}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return wire.Event{Code: max(exit.ExitCode(), 1)}, nil
	}
	return wire.Event{}, err
}

func resize(rows, cols uint16) {
	if rows == 0 || cols == 0 {
		return
	}
	tty, err := os.OpenFile(terminal, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer tty.Close()
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		fmt.Fprintln(os.Stderr, "lab: cannot tell the shell its size:", err)
	}
}

// leave ends the lab in systemd's way.
func leave(how string) error { return command("systemctl", how) }
