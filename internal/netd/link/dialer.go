package link

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"banger/internal/unixsocket"
)

// A socket that has just appeared may not be listened on yet, so that a refusal is tried again a few times, less and less
// often. After that only a new socket helps, and that is waited for.
const (
	firstPause = time.Millisecond
	lastPause  = 2 * time.Second
)

// Dialer connects to the VMMs' sockets as they appear. One inotify instance serves all.
type Dialer struct {
	watcher *fsnotify.Watcher
	closed  chan struct{}

	mu      sync.Mutex
	waiting map[string]map[chan struct{}]bool // by path
	dirs    map[string]int                    // how many wait in each directory
}

// NewDialer returns a Dialer. Close ends it.
func NewDialer() (*Dialer, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	d := &Dialer{watcher: watcher, closed: make(chan struct{}), waiting: map[string]map[chan struct{}]bool{}, dirs: map[string]int{}}
	go d.run()
	return d, nil
}

// Close ends every wait for a new socket.
func (d *Dialer) Close() error {
	err := d.watcher.Close()
	<-d.closed
	return err
}

func (d *Dialer) run() {
	defer close(d.closed)
	for {
		select {
		case event, ok := <-d.watcher.Events:
			if !ok {
				return
			}
			if event.Has(fsnotify.Create) {
				d.wake(event.Name)
			}
		case err, ok := <-d.watcher.Errors:
			if !ok {
				return
			}
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				d.wake("")
			}
		}
	}
}

// wake wakes those who wait for the socket at path, or everybody.
func (d *Dialer) wake(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p, waiting := range d.waiting {
		for ch := range waiting {
			if path == "" || p == path {
				notify(ch)
			}
		}
	}
}

func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// subscribe tells ch when something appears at path. A directory that cannot be watched is no error: it does not exist,
// and whoever makes it says so by kicking.
func (d *Dialer) subscribe(path string, ch chan struct{}) (unsubscribe func()) {
	dir := filepath.Dir(path)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting[path] == nil {
		d.waiting[path] = map[chan struct{}]bool{}
	}
	d.waiting[path][ch] = true
	d.dirs[dir]++
	_ = d.watcher.Add(dir)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if delete(d.waiting[path], ch); len(d.waiting[path]) == 0 {
			delete(d.waiting, path)
		}
		if d.dirs[dir]--; d.dirs[dir] == 0 {
			delete(d.dirs, dir)
			_ = d.watcher.Remove(dir)
		}
	}
}

// Dial connects to the socket at path once somebody listens on it. kick makes it try again at once. It fails only when
// ctx ends.
func (d *Dialer) Dial(ctx context.Context, path string, kick <-chan struct{}) (net.Conn, error) {
	appeared := make(chan struct{}, 1)
	for {
		unsubscribe := d.subscribe(path, appeared) // again after a kick: the directory may be another one
		conn, err := d.attempt(ctx, path, appeared, kick)
		unsubscribe()
		if conn != nil || ctx.Err() != nil {
			return conn, err
		}
	}
}

// attempt returns without a connection when it was kicked.
func (d *Dialer) attempt(ctx context.Context, path string, appeared, kick <-chan struct{}) (net.Conn, error) {
	pause := firstPause
	timer := time.NewTimer(pause)
	timer.Stop()
	defer timer.Stop()
	for {
		conn, err := unixsocket.Dial(ctx, path)
		if err == nil {
			return conn, nil
		}
		// A VMM that listens and does not accept (EAGAIN) is alive: it is asked for as long as that lasts.
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ECONNREFUSED) && pause < lastPause {
			timer.Reset(pause)
			pause = min(2*pause, lastPause)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-kick:
			return nil, err
		case <-appeared:
			pause = firstPause
		case <-timer.C:
		}
	}
}
