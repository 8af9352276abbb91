package bridge

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"banger/internal/helper/hostnet"
	"banger/internal/model"
	"banger/internal/network/networktest"
)

// unable has verbs that fail.
type unable struct {
	Verbs
	change, list error
	found        hostnet.Found
}

func (u unable) Detach(context.Context, model.VMID) error         { return u.change }
func (u unable) Sweep(context.Context, map[model.VMID]bool) error { return u.change }
func (u unable) Recycle(context.Context) error                    { return u.change }
func (u unable) Prepare(context.Context) error                    { return u.change }
func (u unable) List(context.Context) (hostnet.Found, error)      { return u.found, u.list }

// TestWhoMayNotMadeNothing forgives a daemon that may make no networks that it cannot take any away, and no other.
func TestWhoMayNotMadeNothing(t *testing.T) {
	t.Parallel()
	denied, dead, odd := model.Errorf(model.ErrDenied, "only root can"), model.Errorf(model.ErrUnavailable, "the helper is dead"), errors.New("odd")
	for name, c := range map[string]struct {
		unable
		want error
	}{
		"able":                          {unable{}, nil},
		"it may neither look":           {unable{change: denied, list: denied}, nil},
		"it sees nothing":               {unable{change: denied}, nil},
		"it sees a tap":                 {unable{change: denied, found: hostnet.Found{Ports: []hostnet.Port{{Tap: "bt-x"}}}}, denied},
		"it sees a bridge":              {unable{change: denied, found: hostnet.Found{Bridge: "bb-x"}}, denied},
		"it cannot look":                {unable{change: denied, list: odd}, denied},
		"a helper that does not answer": {unable{change: dead, list: dead}, dead},
		"a failure":                     {unable{change: odd}, odd},
	} {
		d := New(Options{Verbs: c.unable, Publisher: networktest.NewPublisher(t.TempDir()), Log: slog.New(slog.DiscardHandler)})
		for what, err := range map[string]error{
			"clear": d.Clear(t.Context(), model.NewVMID(), model.NetHandles{}), "sweep": d.Sweep(t.Context(), nil),
		} {
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%s: %s: got %v, want %v", name, what, err, c.want)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		leaks, err := d.Leaks(t.Context(), nil)
		if want := c.list; errors.Is(want, model.ErrDenied) && (err != nil || len(leaks) > 0) || want == nil && err != nil || errors.Is(want, odd) && err == nil {
			t.Errorf("%s: %v, %v", name, leaks, err)
		}
	}
}
