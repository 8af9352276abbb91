package vm

import (
	"banger/internal/guest"
	"banger/internal/image"
	"banger/internal/model"
)

// View is a VM with what is true of it now.
type View struct {
	model.VM
	Handles model.Handles
	Ports   []model.Port // in force, or of a VM that does not run, what it will publish
	Dir     string       // where its files are
}

// CreateRequest asks for a new VM. Zero fields take the service's defaults.
type CreateRequest struct {
	Name  string // empty for a random one
	Spec  model.Spec
	VMM   string     // driver, or empty for the host's best
	Start bool       // start it once it is made
	Lease bool       // delete it when nobody has held its lease for LeaseGrace
	Image image.Want // how to come by Spec.Image; its Ref is not used

	RootDisk string // driver, or empty for the configured one, or else the best that goes with the VMM
	Network  string // driver, or empty for the configured one where that carries Spec.Network, or else the best

	LeaseMain bool   // Lease it when its image has a main command
	StartMain bool   // once it is started, start its image's main command and leave it to itself
	Key       string // idempotency key; the same one twice is the same operation
	// Workspace is a project to copy in once it runs; only with Start.
	Workspace *model.WorkspaceSpec
}

// Resolution is what one reference of many means.
type Resolution struct {
	Ref string
	VM  *View
	Err error
}

// Process is a command that runs in a guest, as seen by whoever is attached to it. Recv is for one goroutine; the other
// methods are safe beside it and each other, also while a Stdin is blocked.
type Process interface {
	ID() string
	// Warning is a line for the user, or "".
	Warning() string
	// Recv returns the next output or the exit; io.EOF once everything has been said.
	Recv() (guest.Output, error)
	Stdin(p []byte) error
	CloseStdin() error
	Signal(number int) error
	Resize(rows, cols uint16) error
	// Close detaches. A command whose client does not come back is ended by the agent.
	Close() error
}
