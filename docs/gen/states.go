package main

import (
	"fmt"
	"strings"

	"banger/internal/model"
)

// stateDiagram draws the one transition table of model.State.
func stateDiagram() string {
	var b strings.Builder
	b.WriteString("```mermaid\nstateDiagram-v2\n    [*] --> creating\n")
	for _, state := range model.States() {
		next := state.Next()
		if len(next) == 0 {
			fmt.Fprintf(&b, "    %s --> [*]\n", state)
		}
		for _, n := range next {
			fmt.Fprintf(&b, "    %s --> %s\n", state, n)
		}
	}
	b.WriteString("```\n")
	return b.String()
}
