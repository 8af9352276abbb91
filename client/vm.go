package client

import (
	"context"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/types/known/durationpb"

	bangerv1 "banger/api/banger/v1"
	"banger/internal/apierror"
)

// CreateRequest describes a new VM. Zero values stand for the daemon's defaults.
type CreateRequest struct {
	Name        string // "" for a random one
	Image       string
	Kernel      string
	VMM         string
	RootDisk    string // its driver
	NetworkBy   string // the driver that carries its packets
	VCPUs       int
	MemoryBytes int64
	DiskBytes   int64
	Env         []string // K=V, for every command run in it
	Workdir     string
	User        string
	Network     string // policy
	Ports       []Port // to publish on the host
	HostPorts   []int  // of the host's loopback, for the guest to reach
	PortsAuto   bool   // have what the guest listens on appear on the host
	Proxy       bool   // Env has the host's proxy variables
	CA          bool   // have the guest trust the host's extra certificate authorities
	Start       bool
	// Lease makes the VM one that is deleted soon after the Operation is closed or its client is gone. The Operation must
	// be kept open as long as the VM is needed.
	Lease bool
	// LeaseMain makes it one when its image has a main command: the result's Leased tells.
	LeaseMain bool
	StartMain bool   // once it is started, start its image's main command and leave it to itself
	Pull      string // when the image is pulled: missing (""), always or never
	Platform  string // of a pulled image; "" for linux/amd64
	Insecure  bool   // the registry may speak plain HTTP or have an unknown certificate
	Key       string // idempotency key, or ""
	// Workspace is a project to copy in once it runs; only with Start.
	Workspace *WorkspaceSpec
}

// Create makes a VM and, when asked to, starts it. The result is the VM.
func (c *Client) Create(ctx context.Context, r CreateRequest) (*Operation, error) {
	stream, err := c.vms.Create(ctx, &bangerv1.CreateVMRequest{
		Spec: &bangerv1.VMSpec{
			Name: r.Name, Image: r.Image, Kernel: r.Kernel, Vmm: r.VMM, RootDisk: r.RootDisk, NetworkDriver: r.NetworkBy, Vcpus: int32(r.VCPUs),
			MemoryBytes: r.MemoryBytes, DiskBytes: r.DiskBytes, Env: r.Env, Workdir: r.Workdir, User: r.User,
			Network: r.Network, Ports: portMessages(r.Ports), HostPorts: portNumbers(r.HostPorts), PortsAuto: r.PortsAuto, Proxy: r.Proxy, Ca: r.CA,
			Pull: r.Pull, Platform: r.Platform, Insecure: r.Insecure, LeaseMain: r.LeaseMain, StartMain: r.StartMain,
			Workspace: r.Workspace.message(),
		},
		Start: r.Start, Lease: r.Lease, IdempotencyKey: r.Key,
	})
	op, err := begin(ctx, c, stream, err)
	if err != nil {
		return nil, err
	}
	op.leased = r.Lease || r.LeaseMain
	return op, nil
}

// Start starts a VM that does not run.
func (c *Client) Start(ctx context.Context, id string) (*Operation, error) {
	stream, err := c.vms.Start(ctx, &bangerv1.StartVMRequest{Id: id})
	return begin(ctx, c, stream, err)
}

// Stop ends a VM in good order, or, when the guest has not ended after grace, at once.
func (c *Client) Stop(ctx context.Context, id string, grace time.Duration) (*Operation, error) {
	stream, err := c.vms.Stop(ctx, &bangerv1.StopVMRequest{Id: id, Grace: durationpb.New(grace)})
	return begin(ctx, c, stream, err)
}

// Restart is Stop followed by Start.
func (c *Client) Restart(ctx context.Context, id string, grace time.Duration) (*Operation, error) {
	stream, err := c.vms.Restart(ctx, &bangerv1.RestartVMRequest{Id: id, Grace: durationpb.New(grace)})
	return begin(ctx, c, stream, err)
}

// Kill ends a VM at once. What its guest had not synced is lost.
func (c *Client) Kill(ctx context.Context, id string) (*Operation, error) {
	stream, err := c.vms.Kill(ctx, &bangerv1.KillVMRequest{Id: id})
	return begin(ctx, c, stream, err)
}

// Delete removes a VM in whatever state it is, with everything it had.
func (c *Client) Delete(ctx context.Context, id string) (*Operation, error) {
	stream, err := c.vms.Delete(ctx, &bangerv1.DeleteVMRequest{Id: id})
	return begin(ctx, c, stream, err)
}

// VMs lists the VMs, oldest first: all, or those that run.
func (c *Client) VMs(ctx context.Context, runningOnly bool) ([]VM, error) {
	res, err := c.vms.List(ctx, &bangerv1.ListVMsRequest{RunningOnly: runningOnly})
	if err != nil {
		return nil, plain(ctx, err)
	}
	vms := make([]VM, 0, len(res.GetVms()))
	for _, m := range res.GetVms() {
		vms = append(vms, vmValue(m))
	}
	return vms, nil
}

// Resolution is what one reference means: a VM, or Err.
type Resolution struct {
	Ref string
	VM  VM
	Err error
}

// Resolve finds the VM of each reference (a name, an id or a unique prefix of one), all in one snapshot.
func (c *Client) Resolve(ctx context.Context, refs []string) ([]Resolution, error) {
	res, err := c.vms.Resolve(ctx, &bangerv1.ResolveVMsRequest{Refs: refs})
	if err != nil {
		return nil, plain(ctx, err)
	}
	found := make([]Resolution, 0, len(refs))
	for _, m := range res.GetResolutions() {
		one := Resolution{Ref: m.GetRef()}
		if m.GetVm() != nil {
			one.VM = vmValue(m.GetVm())
		} else {
			one.Err = apierror.New(connect.Code(m.GetCode()), m.GetError())
		}
		found = append(found, one)
	}
	return found, nil
}

// Logs writes the VM's console to w and, with follow, what comes until the VM ends or ctx does. An error of w is returned
// as it is.
func (c *Client) Logs(ctx context.Context, id string, follow bool, w io.Writer) error {
	stream, err := c.vms.Logs(ctx, &bangerv1.LogsVMRequest{Id: id, Follow: follow})
	if err != nil {
		return plain(ctx, err)
	}
	defer stream.Close()
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return plain(ctx, err)
		}
		if _, err := w.Write(m.GetData()); err != nil {
			return err
		}
	}
}
