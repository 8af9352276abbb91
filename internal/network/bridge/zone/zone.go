// Package zone answers the host's questions for the names of VMs.
//
// Whoever is on the host may ask, so that what comes is as hostile as what a guest sends: it has caps, and an answer is
// never larger than what it can be asked in one datagram. Guests are kept off by the kernel's rules, and once more here.
package zone

import (
	"log/slog"
	"net/netip"
	"sync"

	"banger/internal/model"
)

// Server knows the VMs that have a name now. It forgets all when it ends: who makes one tells it of them anew.
type Server struct {
	log   *slog.Logger
	tasks sync.WaitGroup

	mu     sync.RWMutex
	guests map[model.VMID]guest
	owners map[string]model.VMID // by name
	at     *sockets              // nil while it answers nobody
}

type guest struct {
	name    string
	address netip.Addr
}

// New returns a Server that answers nobody yet.
func New(log *slog.Logger) *Server {
	return &Server{log: log, guests: map[model.VMID]guest{}, owners: map[string]model.VMID{}}
}

// Set gives a VM its name, in place of one that it had.
func (s *Server) Set(id model.VMID, name string, address netip.Addr) error {
	if err := model.ValidateName("VM", name); err != nil {
		return err
	}
	if !address.Is4() {
		return model.Errorf(model.ErrInvalid, "%s is no address to know %s by", address, name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(id)
	s.guests[id], s.owners[name] = guest{name, address}, id
	return nil
}

// Remove takes a VM's name away, and says how many others have one.
func (s *Server) Remove(id model.VMID) (left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(id)
	return len(s.guests)
}

// Keep takes the names away of all VMs but those, and says how many are left.
func (s *Server) Keep(keep map[model.VMID]bool) (left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.guests {
		if !keep[id] {
			s.forget(id)
		}
	}
	return len(s.guests)
}

// HostName is what a VM is called, with the domain; "" when it has no name.
func (s *Server) HostName(id model.VMID) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if g, known := s.guests[id]; known {
		return g.name + "." + model.VMDomain
	}
	return ""
}

func (s *Server) forget(id model.VMID) {
	g, known := s.guests[id]
	if known && s.owners[g.name] == id {
		delete(s.owners, g.name)
	}
	delete(s.guests, id)
}

func (s *Server) address(name string) (netip.Addr, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	id, known := s.owners[name]
	return s.guests[id].address, known
}
