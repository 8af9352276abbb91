package user

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	netdv1 "banger/api/netd/v1"
	"banger/internal/companion"
	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/version"
)

// startLimit is how long netd may take until it listens, on a host whose every core is busy.
const startLimit = 30 * time.Second

// connection returns the netd that runs, with the hold on it. Where none runs it starts one, tells it all that is
// remembered, or, without start, returns nil.
func (d *Driver) connection(ctx context.Context, start bool) (*netd, error) {
	if n := d.current(); n != nil {
		return n, nil
	}
	select {
	case d.dialing <- struct{}{}:
		defer func() { <-d.dialing }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if n := d.current(); n != nil {
		return n, nil
	}
	for attempt := 1; ; attempt++ {
		n, err := d.find(ctx, start)
		if err != nil || n == nil {
			return nil, err
		}
		err = d.take(n)
		if err == nil {
			d.retell(ctx, n)
			return n, nil
		}
		n.close()
		// One that was about to end, since nobody needed it, answers no more: it is not there.
		if errors.Is(err, errClosed) || !n.dead(err) || attempt == maxDying {
			return nil, err
		}
	}
}

// maxDying is how many netds in a row may be about to end.
const maxDying = 10

func (d *Driver) current() *netd {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.netd == nil {
		return nil
	}
	select {
	case <-d.netd.gone:
		return nil
	default:
		return d.netd
	}
}

// find connects to a netd of our version that answers. Another one, which a former daemon has left, is ended: its VMs lose
// their open connections and nothing else, and are carried by what was upgraded.
func (d *Driver) find(ctx context.Context, start bool) (*netd, error) {
	for started := false; ; {
		var n *netd
		err := within(ctx, answerTime, func(ctx context.Context) (err error) {
			n, err = dialNetd(ctx, d.options.Dirs.NetdSocket())
			return err
		})
		switch {
		case err == nil && n.hello.GetProtocol() == protocol && (started || n.hello.GetVersion() == version.Version):
			return n, nil
		case err == nil && started: // that of our own is no better
			n.close()
			return nil, model.Errorf(model.ErrUnsupported, "cannot use banger-netd: it is of version %s, and the daemon of %s; install banger again",
				n.hello.GetVersion(), version.Version)
		case err == nil:
			d.options.Log.Warn("replacing a banger-netd of another version", "pid", n.pid, "version", n.hello.GetVersion())
			n.close()
			err = endNetd(ctx, n.pid, unix.SIGTERM)
		case errors.Is(err, errHangs) && n != nil:
			d.options.Log.Error("banger-netd does not answer; ending it", "pid", n.pid)
			err = endNetd(ctx, n.pid, unix.SIGKILL)
		case notRunning(err) && !start:
			return nil, nil
		case notRunning(err):
			started = true
			err = d.start(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
}

// notRunning says whether an error of dialing means that no netd runs: no socket, or one of a dead or
// dying process.
func notRunning(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, errGone)
}

// endNetd ends a netd, and returns when it is gone.
func endNetd(ctx context.Context, pid int, sig syscall.Signal) error {
	p, err := procs.Of(pid)
	if errors.Is(err, model.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	h, err := procs.Open(p)
	if errors.Is(err, model.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	crash.At("user.end.before")
	if err := h.Signal(sig); err != nil {
		return err
	}
	select {
	case <-h.Done():
		crash.At("user.end.after")
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// take makes n the netd that is asked from now on, holds it, and has its end noticed.
func (d *Driver) take(n *netd) error {
	crash.At("user.hold.before")
	if err := n.hold(d.ctx); err != nil {
		return err
	}
	crash.At("user.hold.after")
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return errClosed
	}
	d.netd = n
	d.wg.Add(1)
	d.mu.Unlock()
	go func() {
		defer d.wg.Done()
		<-n.gone
		d.lost(n)
		d.revive()
	}()
	return nil
}

// lost forgets a netd that is gone.
func (d *Driver) lost(n *netd) {
	d.mu.Lock()
	if d.netd == n {
		d.netd = nil
	}
	d.mu.Unlock()
	n.close()
}

// revive starts netd again after its death, where VMs need it.
func (d *Driver) revive() {
	if len(d.remembered()) == 0 || d.ctx.Err() != nil {
		return
	}
	d.options.Log.Warn("banger-netd ended; starting it again")
	ctx, cancel := context.WithTimeout(d.ctx, startLimit+2*answerTime)
	defer cancel()
	if _, err := d.connection(ctx, true); err != nil && d.ctx.Err() == nil {
		d.options.Log.Error("the VMs have no network: banger-netd cannot be started again", "error", err)
	}
}

// retell tells a netd that may be a new one what the last one knew, before anyone else asks it.
func (d *Driver) retell(ctx context.Context, n *netd) {
	for _, p := range d.remembered() {
		crash.At("user.retell.before")
		answer, err := n.rpc.Set(ctx, &netdv1.SetRequest{Port: p})
		if err != nil && !n.dead(err) && len(p.GetForwards()) > 0 {
			// Somebody may have taken a port of the host meanwhile. A network without ports is better than none.
			d.options.Log.Error("cannot publish a VM's ports again", "vm", p.GetVmId(), "error", err)
			bare := proto.CloneOf(p)
			bare.Forwards = nil
			answer, err = n.rpc.Set(ctx, &netdv1.SetRequest{Port: bare})
		}
		if err == nil {
			d.remember(p, answer)
		}
		if err == nil && answer.GetWantsTap() && p.GetTap() != nil {
			err = d.attach(ctx, p)
		}
		if err != nil {
			d.options.Log.Error("cannot give a VM its network again", "vm", p.GetVmId(), "error", err)
		}
		crash.At("user.retell.after")
	}
}

// start runs netd in a session of its own and returns when it listens, or another one does.
func (d *Driver) start(ctx context.Context) error {
	program, err := d.program()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, model.Errorf(model.ErrTimeout,
		"cannot start the network: banger-netd does not listen after %s; see: %s", startLimit, d.options.Dirs.NetdLog()))
	defer cancel()
	says, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer says.Close()
	defer theirs.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	log, err := os.OpenFile(d.options.Dirs.NetdLog(), os.O_APPEND|os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return model.HostErrorf(err, "cannot open the network's log")
	}
	defer log.Close()
	crash.At("user.start.before")
	child, err := procs.Start(program, []string{program}, os.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []*os.File{null, log, log, theirs}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return model.HostErrorf(err, "cannot start the network")
	}
	defer child.Close()
	crash.At("user.start.spawned")
	_ = theirs.Close()
	defer context.AfterFunc(ctx, func() { _ = says.SetReadDeadline(time.Now()) })()
	if err := answer(ctx, says, d.options.Dirs.NetdLog()); err != nil {
		return err
	}
	crash.At("user.start.after")
	return nil
}

// answer reads what a netd that starts says of itself: that it listens, that another one does, or what is wrong.
func answer(ctx context.Context, says io.Reader, log string) error {
	line, err := bufio.NewReader(io.LimitReader(says, 4096)).ReadString('\n')
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch line = strings.TrimSpace(line); line {
	case "ready", "running":
		return nil
	case "":
		return model.Errorf(model.ErrUnavailable, "cannot start the network: banger-netd ended at once (%v); see: %s", err, log)
	}
	return model.Errorf(model.ErrUnavailable, "cannot start the network: %s", strings.TrimPrefix(line, "error: "))
}

// program finds the banger-netd that belongs to this program.
func (d *Driver) program() (string, error) {
	if d.options.Program != "" {
		return d.options.Program, nil
	}
	found, err := companion.Find("banger-netd")
	if err != nil {
		return "", model.Errorf(model.ErrUnsupported, "%w, or use --network none", err)
	}
	return found, nil
}
