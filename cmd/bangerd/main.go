// Bangerd is the daemon that runs a user's virtual machines. The banger command starts it by need.
package main

import (
	"os"

	"banger/internal/daemon"
)

func main() { os.Exit(daemon.Main(os.Args[1:])) }
