package jail

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs do on a thread that ends with it, since do makes of that thread what no other may be. It is never the
// process's first one: that cannot end before the process does, and would hold the namespaces that it got until then; and
// what it is in, is what /proc says of the whole process.
func onThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			done <- do() // and never unlocked
			return
		}
		defer runtime.UnlockOSThread()
		done <- onThread(do) // which is not given this thread while this waits on it
	}()
	return <-done
}
