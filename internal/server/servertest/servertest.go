// Package servertest serves the host API over scripted services, for tests of those who talk to it.
package servertest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/server"
	"banger/internal/unixsocket"
)

// Daemon is a daemon in this process, with a socket of its own.
type Daemon struct {
	Dirs       dirs.Dirs
	VMs        *VMs
	Images     *Images
	Operations *operation.Runner
	Stopped    chan struct{} // closed by the first request to stop

	server *server.Server
	served chan error
}

// T is what a Daemon needs of a test.
type T interface {
	Helper()
	TempDir() string
	Cleanup(f func())
	Error(args ...any)
	Fatal(args ...any)
}

// Start serves until the test ends.
func Start(t T) *Daemon {
	t.Helper()
	home := t.TempDir()
	d := &Daemon{
		Dirs: dirs.Dirs{
			State: filepath.Join(home, "state"), Data: filepath.Join(home, "data"),
			Cache: filepath.Join(home, "cache"), Config: filepath.Join(home, "config"),
		},
		Images:  &Images{},
		Stopped: make(chan struct{}),
		served:  make(chan error, 1),
	}
	if err := d.Dirs.Secure(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	d.Operations = operation.NewRunner(&rows{}, log)
	d.VMs = newVMs(d.Operations)
	d.server = server.New(server.Options{
		VMs: d.VMs, Networks: d.VMs, Images: d.Images, Operations: d.Operations, Log: log,
		Status: func(context.Context) server.Status {
			return server.Status{Dirs: d.Dirs, VMM: "fake", Accel: "none", VMMs: []string{"fake"}, RootDisks: []string{"fake", "other"}}
		},
		Stop: sync.OnceFunc(func() { close(d.Stopped) }),
	})
	d.listen(t)
	t.Cleanup(func() {
		d.Close(t)
		if err := d.Operations.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *Daemon) listen(t T) {
	l, err := unixsocket.Listen(d.Dirs.Socket())
	if err != nil {
		t.Fatal(err)
	}
	go func() { d.served <- d.server.Serve(l) }()
}

// Close ends the daemon as a stop does. Twice is fine.
func (d *Daemon) Close(t T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := d.server.Shutdown(ctx); err != nil {
		t.Error("shutdown:", err)
	}
	select {
	case err := <-d.served:
		if !errors.Is(err, http.ErrServerClosed) {
			t.Error("serve:", err)
		}
	default:
	}
}

// rows is a store of operations that remembers none but their keys.
type rows struct {
	mu   sync.Mutex
	keys map[string]model.Operation
}

func (r *rows) InsertOperation(_ context.Context, op model.Operation) (model.Operation, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.keys[op.IdempotencyKey]; ok {
		return old, false, nil
	}
	if op.IdempotencyKey != "" {
		if r.keys == nil {
			r.keys = map[string]model.Operation{}
		}
		r.keys[op.IdempotencyKey] = op
	}
	return op, true, nil
}

func (r *rows) UpdateOperation(context.Context, model.Operation) error { return nil }
