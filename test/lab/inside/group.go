package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// group is a control group below our own, for all processes of one request.
type group struct {
	path string
	dir  *os.File
}

var groups atomic.Int64 // made so far, for their names

func newGroup(name string) (*group, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	path := filepath.Join("/sys/fs/cgroup", strings.TrimPrefix(strings.TrimSpace(string(own)), "0::"), fmt.Sprintf("%s-%d", name, groups.Add(1)))
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return &group{path: path, dir: dir}, nil
}

func (g *group) kill() error {
	return os.WriteFile(filepath.Join(g.path, "cgroup.kill"), []byte("1"), 0)
}

// remove ends what is left in the group and takes it away.
func (g *group) remove() {
	defer g.dir.Close()
	if err := g.kill(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
	events, err := os.Open(filepath.Join(g.path, "cgroup.events"))
	if err != nil {
		return
	}
	defer events.Close()
	buf := make([]byte, 256)
	for range 100 { // each wait ends by itself after 100 ms: what cannot be killed is for the kernel's log
		n, err := events.ReadAt(buf, 0)
		if n == 0 && err != nil || strings.Contains(string(buf[:n]), "populated 0") {
			break
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}, 100)
	}
	if err := os.Remove(g.path); err != nil {
		fmt.Fprintln(os.Stderr, "lab: cannot remove what a request ran in:", err)
	}
}
