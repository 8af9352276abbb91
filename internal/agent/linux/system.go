package linux

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"banger/internal/agent"
	"banger/internal/model"
)

// System is a real guest, seen from the agent's process. It implements agent.System.
type System struct {
	first   *os.File // orders to process 1
	bootID  string
	started chan struct{} // holds one when a command was started

	timerRate float64

	forking sync.Mutex // held while a command is started
	head    headStart

	initramfs *os.File // its directory, held for handOver; nil where that is not to come

	mu      sync.Mutex // guards what follows
	mounted bool
	config  agent.Config
	main    *process // the newest main command; it may have ended
}

func newSystem(first *os.File) (*System, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("cannot read the boot id: %w", err)
	}
	return &System{
		first: first, bootID: strings.TrimSpace(string(id)), timerRate: measuredRate(),
		started: make(chan struct{}, 1),
	}, nil
}

// BootID is the kernel's.
func (s *System) BootID() string { return s.bootID }

// TimerRate is as the kernel measured it in its boot.
func (s *System) TimerRate() float64 { return s.timerRate }

// Configure gives the guest its identity and, the first time, its root.
func (s *System) Configure(_ context.Context, c agent.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := setClock(c.Time); err != nil {
		return err
	}
	if err := addEntropy(c.Entropy); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
		return fmt.Errorf("cannot set the host name: %w", err)
	}
	mounted := s.mounted
	if !mounted {
		if err := s.mount(c); err != nil {
			return err
		}
		s.mounted = true
		makeWorkdir(c.Workdir)
	}
	s.config = c
	if len(c.Link.MAC) > 0 {
		if err := raiseLink(c.Link); err != nil {
			return err
		}
		keepManagersOff(c.Link)
	}
	writeIdentity(c, !mounted)
	trust(c.CA)
	if mounted {
		return nil
	}
	if c.Init != model.InitSystemd {
		return s.order(orderStay)
	}
	s.head.hold(func() { s.handOver(c.InitPath) })
	return nil
}

// handOver has process 1 become systemd, which finds prepared what it looks for at its start and at its end.
func (s *System) handOver(program string) {
	defer s.initramfs.Close()
	keepTemporaries()
	if told(offParameter) {
		if err := takeShutdown(int(s.initramfs.Fd())); err != nil {
			fmt.Fprintln(os.Stderr, "banger-agent: poweroff will only halt this machine:", err)
		}
	}
	if err := s.order(program); err != nil {
		fmt.Fprintln(os.Stderr, "banger-agent:", err)
	}
}

// mount makes the root file system the agent's and process 1's, with all that is mounted in it.
func (s *System) mount(c agent.Config) error {
	if err := mountRoot(c.Join, c.Root); err != nil {
		return err
	}
	if c.Init == model.InitSystemd {
		var err error
		if s.initramfs, err = os.Open("/"); err != nil {
			return fmt.Errorf("cannot open the initramfs: %w", err)
		}
	}
	if err := switchRoot(); err != nil {
		return err
	}
	if err := mountSystem(); err != nil {
		return err
	}
	if err := raiseLoopback(); err != nil {
		return err
	}
	return mountDisks(c)
}

// makeWorkdir makes the directory that commands start in, as docker does. When it cannot, the commands say so.
func makeWorkdir(dir string) {
	if dir == "" {
		return
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, "banger-agent: cannot make the working directory:", err)
	}
}

// Root is the guest's, which the agent has made its own.
func (s *System) Root() string { return "/" }

// Account is looked up in the guest's own files.
func (s *System) Account(user string) (uid, gid int, err error) {
	a, err := lookupUser("/", user)
	return int(a.uid), int(a.gid), err
}

// Sync writes dirty pages to the disks.
func (s *System) Sync() error {
	unix.Sync()
	return nil
}
