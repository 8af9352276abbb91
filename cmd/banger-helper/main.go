// Banger-helper does for an ordinary user's daemon what only root can. Systemd starts it by need.
package main

import (
	"os"

	"banger/internal/helper"
)

func main() { os.Exit(helper.Main(os.Args[1:])) }
