package client

import (
	"context"
	"errors"

	bangerv1 "banger/api/banger/v1"
	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/procs"
)

// Paths are where the daemon's files are, whether one runs or not.
type Paths struct {
	Socket   string `json:"socket"`
	StateDir string `json:"state_dir"`
	Log      string `json:"log"`
}

// Locate returns the Paths of this user's daemon. It touches no file.
func Locate() (Paths, error) {
	d, err := dirs.Default()
	if err != nil {
		return Paths{}, err
	}
	return Paths{Socket: d.Socket(), StateDir: d.State, Log: d.Log()}, nil
}

// Status asks the daemon what it is. It works with a daemon of any version.
func (c *Client) Status(ctx context.Context) (DaemonStatus, error) {
	m, err := c.daemon.Status(ctx, &bangerv1.DaemonStatusRequest{})
	if err != nil {
		return DaemonStatus{}, plain(ctx, err)
	}
	return DaemonStatus{
		PID: int(m.GetPid()), Version: m.GetVersion(), Protocol: int(m.GetProtocol()),
		Socket: m.GetSocket(), StateDir: m.GetStateDir(), DataDir: m.GetDataDir(), Log: m.GetLog(), Instance: m.GetInstance(),
		AgentVersion: m.GetAgentVersion(), AgentProtocol: int(m.GetAgentProtocol()),
		VMM: m.GetVmm(), Accel: m.GetAccel(), Slow: m.GetSlow(), Problem: m.GetProblem(),
		VMMs: list(m.GetVmms()), RootDisks: list(m.GetRootDisks()), Networks: list(m.GetNetworks()),
	}, nil
}

// StopDaemon ends the daemon, of any version, and returns when its process is gone. Running VMs go on, and the next
// daemon finds them. The Client is of no more use then.
func (c *Client) StopDaemon(ctx context.Context) error {
	daemon, err := c.holdDaemon() // before it is asked, so that its number still means that process
	if err != nil {
		return err
	}
	defer daemon.Close()
	_, err = c.daemon.Stop(ctx, &bangerv1.StopDaemonRequest{})
	if err = plain(ctx, err); err != nil && !errors.Is(err, ErrUnavailable) {
		return err
	}
	_ = c.Close()
	select {
	case <-daemon.Done():
		return nil
	case <-ctx.Done():
		return model.Errorf(model.ErrTimeout, "the daemon (process %d) was told to stop and has not yet; see: banger daemon logs", c.peer.Load())
	}
}

func (c *Client) holdDaemon() (*procs.Handle, error) {
	identity, err := procs.Of(int(c.peer.Load()))
	if err != nil {
		return nil, model.Errorf(model.ErrUnavailable, "the daemon has just ended")
	}
	return procs.Open(identity)
}
