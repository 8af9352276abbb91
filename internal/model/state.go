package model

import "slices"

// State is where a VM is in its life. The database holds its String; the zero State is invalid.
type State int

// The states. A state that ends in -ing is an intent: it is written before the host is touched, so that a daemon that
// finds one at start knows what was being done.
const (
	StateCreating State = iota + 1
	StateStopped
	StateStarting
	StateRunning
	StatePausing
	StatePaused
	StateStopping
	StateFailed // a create or a start that never ran; LastError says why
	StateDeleting
)

var stateNames = []string{"", "creating", "stopped", "starting", "running", "pausing", "paused", "stopping", "failed", "deleting"}

// transitions is the one table of what may follow what. A VMM that ends by itself takes its VM to stopped from any state
// in which it lived.
var transitions = map[State][]State{
	StateCreating: {StateStopped, StateFailed, StateDeleting},
	StateStopped:  {StateStarting, StateDeleting},
	StateStarting: {StateRunning, StateFailed, StateStopped, StateStopping, StateDeleting},
	StateRunning:  {StatePausing, StateStopping, StateStopped, StateDeleting},
	StatePausing:  {StatePaused, StateRunning, StateStopped, StateDeleting},
	StatePaused:   {StateRunning, StateStopping, StateStopped, StateDeleting},
	StateStopping: {StateStopped, StateDeleting},
	StateFailed:   {StateStarting, StateDeleting},
	StateDeleting: {},
}

func (s State) String() string {
	if s <= 0 || int(s) >= len(stateNames) {
		return "invalid"
	}
	return stateNames[s]
}

// ParseState is the inverse of String; ok is false for anything else.
func ParseState(name string) (s State, ok bool) {
	i := slices.Index(stateNames, name)
	return State(i), i > 0
}

// States lists every state in the order of a VM's life.
func States() []State {
	all := make([]State, 0, len(stateNames)-1)
	for i := range stateNames[1:] {
		all = append(all, State(i+1))
	}
	return all
}

// Next lists the states that may follow s.
func (s State) Next() []State { return slices.Clone(transitions[s]) }

// CanBecome says whether a VM in state s may go to state next.
func (s State) CanBecome(next State) bool { return slices.Contains(transitions[s], next) }

// AtRest says whether nothing is being done to a VM in state s: only what the host says can change it.
func (s State) AtRest() bool {
	switch s {
	case StateStopped, StateRunning, StatePaused, StateFailed:
		return true
	}
	return false
}

// Lives says whether a VM in state s may have a VMM, and with it sockets and handles.
func (s State) Lives() bool {
	return s != StateStopped && s != StateFailed && s != StateCreating
}
