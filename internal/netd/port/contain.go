package port

import (
	"fmt"
	"runtime/debug"
)

// contain runs what works on a guest's bytes in a goroutine of ours: should it panic, that is one question or connection
// less, and not the end of the network of all VMs.
func (s *side) contain(do func()) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("a guest's bytes made us panic", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	do()
}
