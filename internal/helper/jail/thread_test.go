package jail

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTheFirstThreadIsSpared also when it is the one that asks, whose goroutines are the next to run on it.
func TestTheFirstThreadIsSpared(t *testing.T) {
	t.Parallel()
	for range 10 {
		onFirstThread(t, func() {
			want := errors.New("its own")
			err := onThread(func() error {
				if unix.Gettid() == os.Getpid() {
					t.Error("it is on the process's first thread")
				}
				return want
			})
			if !errors.Is(err, want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// onFirstThread calls do on it: goroutines take all threads there are, until one has that.
func onFirstThread(t *testing.T, do func()) {
	t.Helper()
	const most = 1000
	var all sync.WaitGroup
	found, release := make(chan struct{}), make(chan struct{})
	for i := 0; ; i++ {
		first := make(chan bool)
		all.Go(func() {
			runtime.LockOSThread()
			is := unix.Gettid() == os.Getpid()
			first <- is
			if !is {
				<-release
				runtime.UnlockOSThread()
				return
			}
			runtime.UnlockOSThread()
			do()
			close(found)
		})
		if <-first {
			break
		}
		if i == most {
			close(release)
			all.Wait()
			t.Skip("not run: the process's first thread is busy")
		}
	}
	<-found
	close(release)
	all.Wait()
}
