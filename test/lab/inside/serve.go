package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/test/lab/wire"
)

// serve does what the host asks for, until it asks for the end.
func serve() error {
	port, err := openPort(wire.Port)
	if err != nil {
		return err
	}
	defer port.Close()
	conn := wire.NewConn(port)
	if err := prepare(); err != nil {
		// Not the end: a person in a shell can look.
		fmt.Fprintln(os.Stderr, "lab: cannot prepare:", err)
	}
	if err := conn.Send(wire.Event{Kind: wire.KindHello, Uptime: uptime()}); err != nil {
		return err
	}
	go func() {
		for range time.Tick(wire.Beat) {
			if conn.Send(wire.Event{Kind: wire.KindBeat}) != nil {
				return
			}
		}
	}()
	for {
		var r wire.Request
		if err := conn.Receive(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		switch r.Op {
		case wire.OpRun:
			go report(conn, func() (wire.Event, error) { return runScenario(conn, r) })
		case wire.OpExec:
			go report(conn, func() (wire.Event, error) { return runCommand(conn, r) })
		case wire.OpShell:
			go report(conn, func() (wire.Event, error) { return runShell(r) })
		case wire.OpResize:
			resize(r.Rows, r.Cols)
		case wire.OpReboot:
			return leave("reboot")
		case wire.OpPoweroff:
			unix.Sync()
			return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
		}
	}
}

// report tells the host how a request ended.
func report(conn *wire.Conn, do func() (wire.Event, error)) {
	begin := time.Now()
	done, err := do()
	if err != nil {
		done.Code, done.Text = 125, err.Error()
	}
	done.Kind, done.Took = wire.KindDone, time.Since(begin)
	if err := conn.Send(done); err != nil {
		fmt.Fprintln(os.Stderr, "lab: cannot tell the host that it is done:", err)
	}
}

// openPort opens the virtio-serial port of a name, for which udev may not have made a link yet.
func openPort(name string) (*os.File, error) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		ports, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, path := range ports {
			text, err := os.ReadFile(path)
			if err == nil && strings.TrimSpace(string(text)) == name {
				return os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(path))), os.O_RDWR, 0)
			}
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("the lab has no port %s", name)
		}
	}
}

func uptime() time.Duration {
	text, _ := os.ReadFile("/proc/uptime")
	seconds, _, _ := strings.Cut(string(text), " ")
	s, _ := strconv.ParseFloat(seconds, 64)
	return time.Duration(s * float64(time.Second))
}
