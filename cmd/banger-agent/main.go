// Banger-agent is the first program of a guest: it makes the machine what its host asks for, and runs commands in it.
package main

import (
	"fmt"
	"os"

	"banger/internal/agent/linux"
	"banger/internal/version"
)

func main() {
	if err := linux.Run(version.Version); err != nil {
		fmt.Fprintln(os.Stderr, "banger-agent:", err)
		os.Exit(1)
	}
}
