package server

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	bangerv1 "banger/api/banger/v1"
	"banger/internal/image"
	"banger/internal/model"
	"banger/internal/vm"
)

func vmMessage(v vm.View) *bangerv1.VM {
	m := &bangerv1.VM{
		Id: string(v.ID), Name: v.Name, State: v.State.String(),
		Image: v.Spec.Image, ImageDigest: string(v.Image), Kernel: v.Spec.Kernel, KernelDigest: string(v.Kernel),
		Vmm: v.VMM, RootDisk: v.RootDisk, Vcpus: int32(v.Spec.VCPUs), MemoryBytes: v.Spec.MemoryBytes, DiskBytes: v.Spec.DiskBytes,
		Network: v.Spec.Network, Env: v.Spec.Env, Workdir: v.Spec.Workdir, User: v.Spec.User,
		CreatedAt: timeMessage(v.CreatedAt), StartedAt: timeMessage(v.StartedAt), UsedAt: timeMessage(v.UsedAt),
		LastError: v.LastError, Leased: v.Leased, Dir: v.Dir,
		Handles: &bangerv1.Handles{BootId: v.Handles.Boot},
		Ports:   portMessages(v.Ports), HostPorts: hostPortMessages(v.Spec.HostPorts),
		PortsAuto: v.Spec.PortsAuto, Proxy: v.Spec.Proxy, Ca: v.Spec.CA,
		WorkspaceHost: v.Workspace.Host, WorkspaceGuest: v.Workspace.Guest,
	}
	if pid := v.Handles.VMM.PID; pid != 0 {
		m.Handles.Vmm = &bangerv1.Process{Pid: int32(pid)}
	}
	return m
}

func imageMessage(i model.Image) *bangerv1.Image {
	return &bangerv1.Image{
		Digest: string(i.Digest), Name: i.Name, Arch: i.Arch, Source: i.Source, Init: string(i.Init),
		SizeBytes: i.SizeBytes, DiskBytes: i.DiskBytes, CreatedAt: timeMessage(i.CreatedAt),
		Env: i.Env, Workdir: i.Workdir, User: i.User,
		Tags: i.Tags, Platform: i.Platform, Reference: i.Reference, Manifest: string(i.Manifest), Entrypoint: i.Entrypoint,
		Cmd: i.Cmd, StopSignal: i.StopSignal, Labels: i.Labels, InitPath: i.InitPath,
	}
}

func kernelMessage(k model.Kernel) *bangerv1.Kernel {
	return &bangerv1.Kernel{
		Digest: string(k.Digest), Name: k.Name, Arch: k.Arch, Release: k.Release, Source: k.Source,
		SizeBytes: k.SizeBytes, CreatedAt: timeMessage(k.CreatedAt),
	}
}

func createRequest(r *bangerv1.CreateVMRequest) (vm.CreateRequest, error) {
	spec := r.GetSpec()
	ports, err := portForwards(spec.GetPorts())
	if err != nil {
		return vm.CreateRequest{}, err
	}
	open, err := hostPorts(spec.GetHostPorts())
	if err != nil {
		return vm.CreateRequest{}, err
	}
	made := vm.CreateRequest{
		Name: spec.GetName(),
		Spec: model.Spec{
			Image: spec.GetImage(), Kernel: spec.GetKernel(), VCPUs: int(spec.GetVcpus()),
			MemoryBytes: spec.GetMemoryBytes(), DiskBytes: spec.GetDiskBytes(),
			Env: spec.GetEnv(), Workdir: spec.GetWorkdir(), User: spec.GetUser(),
			Network: spec.GetNetwork(), Ports: ports, HostPorts: open,
			PortsAuto: spec.GetPortsAuto(), Proxy: spec.GetProxy(), CA: spec.GetCa(),
		},
		VMM: spec.GetVmm(), RootDisk: spec.GetRootDisk(), Network: spec.GetNetworkDriver(), Start: r.GetStart(), Lease: r.GetLease(), Key: r.GetIdempotencyKey(),
		Image:     image.Want{Policy: image.Policy(spec.GetPull()), Platform: spec.GetPlatform(), Insecure: spec.GetInsecure()},
		LeaseMain: spec.GetLeaseMain(), StartMain: spec.GetStartMain(),
	}
	if w := spec.GetWorkspace(); w != nil {
		project := workspaceSpec(w)
		made.Workspace = &project
	}
	return made, nil
}

func execSpec(s *bangerv1.ExecStart) model.ExecSpec {
	return model.ExecSpec{
		Argv: s.GetArgv(), Env: s.GetEnv(), Workdir: s.GetWorkdir(), User: s.GetUser(),
		TTY: s.GetTty(), Stdin: s.GetStdin(), Main: s.GetMain(),
		Rows: uint16(s.GetSize().GetRows()), Cols: uint16(s.GetSize().GetCols()),
		Timeout: s.GetTimeout().AsDuration(),
	}
}

// timeMessage leaves the zero time, which stands for never, unset.
func timeMessage(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
