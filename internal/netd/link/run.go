package link

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"
)

// steady is how long a connection must have lived for the next one to be made without a pause.
const steady = time.Second

// Run connects e to the VMM's socket, carries frames, and does so again, until ctx ends. down is called after each
// connection, when the guest at its other end is gone.
func (e *Endpoint) Run(ctx context.Context, d *Dialer, socket string, kick <-chan struct{}, down func(), log *slog.Logger) {
	pause := firstPause
	for {
		conn, err := d.Dial(ctx, socket, kick)
		if err != nil {
			return
		}
		log.Info("connected to the VMM")
		began := time.Now()
		err = e.serve(ctx, conn)
		down()
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		log.Info("disconnected from the VMM", "error", err)
		if time.Since(began) >= steady {
			pause = firstPause
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, lastPause)
	}
}
