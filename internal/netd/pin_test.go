package netd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"banger/internal/model"
	"banger/internal/netd/port"
)

// kernel notes what it is told that names stand for.
type kernel struct {
	mu   sync.Mutex
	pins []port.Pin
	err  error
}

func (k *kernel) tell(_ context.Context, p port.Pin) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	k.pins = append(k.pins, p)
	return nil
}

// told returns what it was told since it was asked last, and has it fail from now on, or not.
func (k *kernel) told(fail error) (said []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.pins {
		said = append(said, fmt.Sprint(p.ID, p.Address, p.Gateway, p.Entries, p.Addresses, p.Life))
	}
	k.pins, k.err = nil, fail
	return said
}

// TestTheKernelKnowsBeforeTheGuest what a listed name stands for, and is told of it as seldom as that allows.
func TestTheKernelKnowsBeforeTheGuest(t *testing.T) {
	t.Parallel()
	k := &kernel{}
	w := newWorld(t, func(env *port.Env) { env.Pin = k.tell })
	resolver(t, w, "many.example.org. 7200 IN A 93.184.216.40\nmany.example.org. 7200 IN A 93.184.216.41\nmany.example.org. 7200 IN A 10.0.0.9\n")
	list := "*.example.org:443,www.example.org,other.net"
	at := w.behind(behindDoors(t, "box", "127.0.0.2", list)).Doors[port.DNS]
	wants := func(name, answer string, told ...string) {
		t.Helper()
		if got := askDoor(t, "udp4", "127.0.0.2", at, name); got != answer {
			t.Errorf("%s is %s, want %s", name, got, answer)
		}
		if got := k.told(nil); fmt.Sprint(got) != fmt.Sprint(told) {
			t.Errorf("%s: the kernel was told %q, want %q", name, got, told)
		}
	}
	who := "id-box127.0.0.2 127.0.0.1 "
	wants("www.example.org.", "NOERROR 93.184.216.35", who+"[*.example.org:443 www.example.org] [93.184.216.35] 2m0s")
	wants("www.example.org.", "NOERROR 93.184.216.35")
	wants("many.example.org.", "NOERROR 93.184.216.40 93.184.216.41", who+"[*.example.org:443] [93.184.216.40 93.184.216.41] 1h1m0s")
	wants("private.example.org.", "NOERROR")
	wants("example.org.", "NXDOMAIN")
	wants("box.", "NOERROR 127.0.0.2")

	// What the kernel is not told, the guest is not told.
	k.told(model.Errorf(model.ErrUnavailable, "not now"))
	if got := askDoor(t, "udp4", "127.0.0.2", at, "other.net."); got != "SERVFAIL" {
		t.Errorf("other.net is %s", got)
	}
	k.told(nil)
	wants("other.net.", "NOERROR 93.184.216.36", who+"[other.net] [93.184.216.36] 6m0s")

	// Of another entry it is told what the guest knows; entries that stay are not told of again.
	w.behind(behindDoors(t, "box", "127.0.0.2", "other.net,many.example.org:80"))
	w.Remind(t.Context(), "id-box")
	if got := fmt.Sprint(k.told(nil)); !strings.Contains(got, "[many.example.org:80]") || strings.Contains(got, "other.net") || strings.Contains(got, "www") {
		t.Errorf("after a change it was told %s", got)
	}
	w.behind(behindDoors(t, "box", "127.0.0.2", list))
	wants("www.example.org.", "NOERROR 93.184.216.35", who+"[*.example.org:443 www.example.org] [93.184.216.35] 2m0s")

	// Where names need no remembering, it is told nothing.
	w.behind(behindDoors(t, "box", "127.0.0.2", "public,www.example.org"))
	wants("www.example.org.", "NOERROR 93.184.216.35")
	w.behind(behindDoors(t, "box", "127.0.0.2", "open"))
	wants("www.example.org.", "NOERROR 93.184.216.35")
}

// TestManyQuestionsAreOneWord has a guest ask for one name many times at once.
func TestManyQuestionsAreOneWord(t *testing.T) {
	t.Parallel()
	k := &kernel{}
	w := newWorld(t, func(env *port.Env) {
		env.Pin = func(ctx context.Context, p port.Pin) error {
			time.Sleep(50 * time.Millisecond)
			return k.tell(ctx, p)
		}
	})
	resolver(t, w, "")
	at := w.behind(behindDoors(t, "box", "127.0.0.2", "*.example.org")).Doors[port.DNS]
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got := askDoor(t, "udp4", "127.0.0.2", at, "www.example.org."); got != "NOERROR 93.184.216.35" {
				t.Errorf("got %s", got)
			}
		})
	}
	wg.Wait()
	if got := k.told(nil); len(got) != 1 {
		t.Errorf("the kernel was told %d times", len(got))
	}
}
