package server

import (
	"context"
	"os"

	bangerv1 "banger/api/banger/v1"
	"banger/internal/dirs"
	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/version"
)

// Status is what the daemon knows of itself beyond what this package does.
type Status struct {
	Dirs     dirs.Dirs
	Instance model.InstanceID
	VMM      string // the driver that new VMs get
	Accel    string // kvm or tcg
	Slow     string // why VMs are slow here, or ""
	Problem  string // why none can run here, or ""

	VMMs, RootDisks, Networks []string // the drivers that a VM can be made with, in order of preference
}

type daemonService struct {
	status func(ctx context.Context) Status
	stop   func()
}

func (s *daemonService) Status(ctx context.Context, _ *bangerv1.DaemonStatusRequest) (*bangerv1.DaemonStatusResponse, error) {
	status := s.status(ctx)
	return &bangerv1.DaemonStatusResponse{
		Pid: int32(os.Getpid()), Version: version.Version, Protocol: version.API,
		Socket: status.Dirs.Socket(), StateDir: status.Dirs.State, DataDir: status.Dirs.Data, Log: status.Dirs.Log(),
		AgentVersion: version.Version, AgentProtocol: guest.Protocol, // agent and daemon are built as one
		Vmm: status.VMM, Accel: status.Accel, Slow: status.Slow, Problem: status.Problem, Instance: string(status.Instance),
		Vmms: status.VMMs, RootDisks: status.RootDisks, Networks: status.Networks,
	}, nil
}

func (s *daemonService) Ping(context.Context, *bangerv1.PingRequest) (*bangerv1.PingResponse, error) {
	return &bangerv1.PingResponse{}, nil
}

func (s *daemonService) Stop(context.Context, *bangerv1.StopDaemonRequest) (*bangerv1.StopDaemonResponse, error) {
	s.stop()
	return &bangerv1.StopDaemonResponse{}, nil
}
