// Banger-netd carries the packets of a user's virtual machines. The daemon starts it by need.
package main

import (
	"os"

	"banger/internal/netd"
)

func main() { os.Exit(netd.Main(os.Args[1:])) }
