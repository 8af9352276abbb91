//go:build crash

package crash

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
)

// Env names the environment variable that arms a point: its name, or name#3 for the third time it is reached.
const Env = "BANGER_CRASH_AT"

// hits counts how often the armed point was reached. It is the one mutable package variable of banger: a point has no
// receiver to hold it, and no release holds this file.
var hits atomic.Int64

// At kills this process, uncatchably, when the environment names the point.
func At(name string) {
	armed, nth := parse(os.Getenv(Env))
	if armed != name || hits.Add(1) != nth {
		return
	}
	fmt.Fprintln(os.Stderr, "crash point "+name+" reached")
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way; nothing may happen after the point
}
