package doctor

import (
	"context"
	"errors"
	"os"
	"time"

	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/unixsocket"
)

// netdLimit is how long a netd or a daemon may take to accept a connection.
const netdLimit = 5 * time.Second

// netdLeaks looks for a banger-netd that nobody needs, or that cannot be reached. One that runs while the daemon does is
// the daemon's to keep; without both it ends by itself, after five seconds.
func netdLeaks(ctx context.Context, d dirs.Dirs, vms []model.VM) ([]Leak, error) {
	runs, err := procs.Locked(d.NetdLock())
	if err != nil || !runs {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, netdLimit)
	defer cancel()
	needed := dial(ctx, d.Socket()) == nil
	for _, v := range vms {
		needed = needed || lives(v.State)
	}
	var leaks []Leak
	if !needed {
		leaks = append(leaks, Leak{"process", "banger-netd", "goes on though no VM and no daemon needs it; it has five seconds for its end"})
	}
	for _, socket := range []string{d.NetdSocket(), d.NetdTaps()} {
		if err := dial(ctx, socket); needed && err != nil {
			why := "banger-netd runs and does not listen on it"
			if errors.Is(err, os.ErrNotExist) {
				why = "banger-netd runs, and its socket was removed; end that process: another one is started by need"
			}
			leaks = append(leaks, Leak{"socket", socket, why})
		}
	}
	return leaks, nil
}

func dial(ctx context.Context, path string) error {
	conn, err := unixsocket.Dial(ctx, path)
	if err != nil {
		return err
	}
	return conn.Close()
}
