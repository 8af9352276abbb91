package firecracker

import (
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"sync"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/vmm"
	"banger/internal/vmm/process"
)

// machine is one living Firecracker, started or adopted.
type machine struct {
	*process.Machine
	dir         string            // the VM's
	sockets     string            // the directory of its sockets: the same, or its jail's
	jail        model.JailHandles // empty for none
	log         *process.Tail     // nil when it could not be opened
	heardAll    bool              // of the log, from its start
	con         *process.Console  // nil for none
	consoleHold *os.File          // see openConsole

	mu    sync.Mutex
	agent net.Conn // the agent's socket, of the last Agent call
}

func newMachine(dir string, log *slog.Logger) *machine {
	return &machine{Machine: process.NewMachine(log), dir: dir, sockets: dir}
}

// Jail tells of the VMM's jail.
func (m *machine) Jail() model.JailHandles { return m.jail }

// JailLinks are the kinds of link that VMMs in jails take.
func (m *machine) JailLinks() []network.LinkKind { return slices.Collect(maps.Keys(jailNetworks)) }

// heard returns what must have ended before it is known why Firecracker died.
func (m *machine) heard() (all []<-chan struct{}) {
	if m.log != nil {
		all = append(all, m.log.Ended())
	}
	if m.con != nil {
		all = append(all, m.con.Ended())
	}
	return all
}

// public is the machine with the powers that it has.
func (m *machine) public() vmm.Machine {
	if m.con != nil {
		return withConsole{m}
	}
	return m
}

// withConsole is a machine whose serial device is read.
type withConsole struct{ *machine }

// Console hands over the console's reader, once.
func (w withConsole) Console() (io.ReadCloser, error) { return w.con.Take() }

// releaseConsole lets the console end with Firecracker.
func (m *machine) releaseConsole() {
	if m.consoleHold != nil {
		m.consoleHold.Close()
		m.consoleHold = nil
	}
}

// Close lets go of the VMM without disturbing it. Twice is fine.
func (m *machine) Close() error {
	m.End()
	m.hangUp(nil)
	m.releaseConsole()
	if m.log != nil {
		m.log.Close()
	}
	if m.con != nil {
		m.con.Close()
	}
	return m.Machine.Close()
}
