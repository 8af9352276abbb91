package vmmtest

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"banger/internal/agent"
	"banger/internal/model"
)

// SystemOptions shape a fake guest.
type SystemOptions struct {
	BootID   string // what it says of itself; "" for a random one
	Disk     string // a file that keeps what was synced, for a restart; "" for none
	Files    string // a directory that is its root for copies, made when it is missing; "" for none
	PowerOff func() // called once when the guest has powered off; nil for nothing

	TimerRate float64 // what it says of its processor's timer; 0 for nothing
}

// System is a guest's operating system that is none: its commands are built in, run as goroutines over pipes, and touch
// nothing of the host. Its disk is a map of names to texts, of which a crash loses what was not synced.
//
// The commands are true, false, echo, cat, yes, sleep, exit, printenv and pwd as one knows them; hostname prints the
// configured name, put NAME TEXT writes a file to the disk, get NAME prints one, orphan SECONDS leaves a child that keeps
// the output open, listen PORT pretends to listen. A login shell is cat.
type System struct {
	options SystemOptions

	mu      sync.Mutex
	config  agent.Config
	disk    map[string]string
	running map[*task]bool
	off     bool
	gone    chan struct{} // closed when it is off

	listening  []uint16
	relistened chan struct{} // closed and replaced when listening changes
}

// NewSystem boots a fake guest.
func NewSystem(o SystemOptions) (*System, error) {
	if o.BootID == "" {
		o.BootID = string(model.NewVMID())
	}
	s := &System{options: o, disk: map[string]string{}, running: map[*task]bool{}, gone: make(chan struct{}), relistened: make(chan struct{})}
	if o.Files != "" {
		if err := os.MkdirAll(o.Files, 0o755); err != nil {
			return nil, err
		}
	}
	if o.Disk == "" {
		return s, nil
	}
	raw, err := os.ReadFile(o.Disk)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	return s, json.Unmarshal(raw, &s.disk)
}

// BootID names this boot.
func (s *System) BootID() string { return s.options.BootID }

// TimerRate is that of the options.
func (s *System) TimerRate() float64 { return s.options.TimerRate }

// Configure remembers the configuration.
func (s *System) Configure(_ context.Context, c agent.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = c
	return nil
}

// Config returns the last configuration applied.
func (s *System) Config() agent.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}

// Root is the directory of the options.
func (s *System) Root() string { return s.options.Files }

// Account is ours, whoever is asked for: the fake guest has no users.
func (s *System) Account(string) (uid, gid int, err error) { return os.Getuid(), os.Getgid(), nil }

// Sync writes the disk to its file.
func (s *System) Sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options.Disk == "" {
		return nil
	}
	raw, err := json.Marshal(s.disk)
	if err != nil {
		return err
	}
	temp := s.options.Disk + ".tmp"
	if err := os.WriteFile(temp, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, s.options.Disk)
}

// Stop ends all commands, syncs and powers off.
func (s *System) Stop(time.Duration) error {
	s.mu.Lock()
	already := s.off
	if !already {
		s.off = true
		close(s.gone)
	}
	running := slices.Collect(maps.Keys(s.running))
	s.mu.Unlock()
	if already {
		return nil
	}
	for _, p := range running {
		p.kill(15)
	}
	err := s.Sync()
	if s.options.PowerOff != nil {
		s.options.PowerOff()
	}
	return err
}
