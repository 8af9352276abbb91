package model

import "time"

// OperationState is where an operation is.
type OperationState string

// The operation states.
const (
	OperationRunning  OperationState = "running"
	OperationDone     OperationState = "done"
	OperationFailed   OperationState = "failed"
	OperationCanceled OperationState = "canceled"
)

// Operation is one long piece of work, as the database remembers it: it outlives the client that asked for it.
type Operation struct {
	ID             OperationID
	Kind           string // "create", "start", "stop", "delete", "image-build", "kernel-build"
	Subject        string // the VM's id, or the image's or kernel's name
	State          OperationState
	Stage          string // the last stage it reached
	Error          string
	IdempotencyKey string // the client's; the same key twice is the same operation
	CreatedAt      time.Time
	FinishedAt     time.Time
}

// Progress is one step of an operation, for whoever watches. The zero Total means that the end is not known.
type Progress struct {
	Stage string // what is being done now: "build the image"
	Done  int64  // bytes or items so far
	Total int64  // bytes or items in all
}

// Report receives progress. It must not block, and nil-safe callers pass Discard.
type Report func(Progress)

// Discard is a Report for when nobody watches.
func Discard(Progress) {}
