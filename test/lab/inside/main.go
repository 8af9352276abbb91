// Command inside runs in the lab: as its first process it finds the disks and hands over to systemd, as a service it does
// what the host asks for.
package main

import (
	"fmt"
	"os"
)

func main() {
	run := serve
	if os.Getpid() == 1 {
		run = boot
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1) // as process 1: a panic, which the host sees
	}
}
