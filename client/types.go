package client

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	bangerv1 "banger/api/banger/v1"
)

// VM is one virtual machine. Its JSON form is what the command line prints.
type VM struct {
	ID           string     `json:"id"`
	Name         string     `json:"name"`
	State        string     `json:"state"` // creating, stopped, starting, running, pausing, paused, stopping, failed, deleting
	Image        string     `json:"image"`
	ImageDigest  string     `json:"image_digest"`
	Kernel       string     `json:"kernel"`
	KernelDigest string     `json:"kernel_digest"`
	VMM          string     `json:"vmm"`
	RootDisk     string     `json:"root_disk"` // the driver of its root disk
	VCPUs        int        `json:"vcpus"`
	MemoryBytes  int64      `json:"memory_bytes"`
	DiskBytes    int64      `json:"disk_bytes"` // size of the work disk
	Network      string     `json:"network"`
	Env          []string   `json:"env"`
	Workdir      string     `json:"workdir"`
	User         string     `json:"user"`
	CreatedAt    time.Time  `json:"created_at"`
	StartedAt    *time.Time `json:"started_at"` // null when it never ran
	UsedAt       *time.Time `json:"used_at"`    // the last command or shell; null when there was none
	LastError    string     `json:"last_error"` // "" when all is well
	Leased       bool       `json:"leased"`     // deleted when the command it was made for ends
	Dir          string     `json:"dir"`        // where its files are
	Handles      Handles    `json:"handles"`
	Ports        []Port     `json:"ports"`      // published and automatic ones
	HostPorts    []int      `json:"host_ports"` // of the host's loopback, which it reaches as host.banger.internal
	PortsAuto    bool       `json:"ports_auto"` // what it listens on appears on the host
	Proxy        bool       `json:"proxy"`      // it was given the proxy variables
	CA           bool       `json:"ca"`         // it is given the host's extra certificate authorities
	// Workspace is the project that was copied in; null when there is none.
	Workspace *WorkspacePaths `json:"workspace"`
}

// WorkspacePaths are where a project is.
type WorkspacePaths struct {
	Host  string `json:"host"`
	Guest string `json:"guest"`
}

// Handles are what is true of a VM now.
type Handles struct {
	BootID string   `json:"boot_id"` // the guest's; "" when it does not run
	VMM    *Process `json:"vmm"`     // null when it does not run
}

// Process is a process of this host.
type Process struct {
	PID int `json:"pid"`
}

// Image is a root file system that VMs start from.
type Image struct {
	Digest    string    `json:"digest"`
	Name      string    `json:"name"` // "" once another image has taken the name over
	Arch      string    `json:"arch"`
	Source    string    `json:"source"`
	Init      string    `json:"init"`       // systemd, or agent where the agent stays PID 1
	SizeBytes int64     `json:"size_bytes"` // of the root file system
	DiskBytes int64     `json:"disk_bytes"` // what it takes on this host
	Env       []string  `json:"env"`
	Workdir   string    `json:"workdir"`
	User      string    `json:"user"`
	CreatedAt time.Time `json:"created_at"`

	Tags       []string          `json:"tags"` // every name, Name first
	Platform   string            `json:"platform"`
	Reference  string            `json:"reference"` // of a pulled one: repository@digest; "" for others
	Manifest   string            `json:"manifest"`  // of a pulled or imported one: its manifest's digest, or ""
	InitPath   string            `json:"init_path"`
	Entrypoint []string          `json:"entrypoint"`
	Cmd        []string          `json:"cmd"`
	StopSignal string            `json:"stop_signal"` // "" for SIGTERM
	Labels     map[string]string `json:"labels"`
	Default    bool              `json:"default"` // VMs get it for which none is named
}

// Kernel is a guest kernel with its modules.
type Kernel struct {
	Digest    string    `json:"digest"`
	Name      string    `json:"name"`
	Arch      string    `json:"arch"`
	Release   string    `json:"release"` // uname -r
	Source    string    `json:"source"`
	SizeBytes int64     `json:"size_bytes"`
	CreatedAt time.Time `json:"created_at"`
}

// DaemonStatus is what a daemon says of itself.
type DaemonStatus struct {
	PID           int    `json:"pid"`
	Version       string `json:"version"`
	Protocol      int    `json:"protocol"`
	Socket        string `json:"socket"`
	StateDir      string `json:"state_dir"`
	DataDir       string `json:"data_dir"`
	Log           string `json:"log"`
	Instance      string `json:"instance"`
	AgentVersion  string `json:"agent_version"` // of the agent that new VMs get
	AgentProtocol int    `json:"agent_protocol"`
	VMM           string `json:"vmm"`     // the driver that new VMs get
	Accel         string `json:"accel"`   // kvm or tcg
	Slow          string `json:"slow"`    // why VMs are slow on this host, or ""
	Problem       string `json:"problem"` // why no VM can run on this host, or ""

	VMMs      []string `json:"vmms"`       // the drivers that a VM can be made with, in order of preference
	RootDisks []string `json:"root_disks"` // likewise
	Networks  []string `json:"networks"`   // likewise
}

func vmValue(m *bangerv1.VM) VM {
	v := VM{
		ID: m.GetId(), Name: m.GetName(), State: m.GetState(),
		Image: m.GetImage(), ImageDigest: m.GetImageDigest(), Kernel: m.GetKernel(), KernelDigest: m.GetKernelDigest(),
		VMM: m.GetVmm(), RootDisk: m.GetRootDisk(), VCPUs: int(m.GetVcpus()), MemoryBytes: m.GetMemoryBytes(), DiskBytes: m.GetDiskBytes(),
		Network: m.GetNetwork(), Env: list(m.GetEnv()), Workdir: m.GetWorkdir(), User: m.GetUser(),
		CreatedAt: instant(m.GetCreatedAt()), StartedAt: maybe(m.GetStartedAt()), UsedAt: maybe(m.GetUsedAt()),
		LastError: m.GetLastError(), Leased: m.GetLeased(), Dir: m.GetDir(),
		Handles: Handles{BootID: m.GetHandles().GetBootId()},
		Ports:   portValues(m.GetPorts()), HostPorts: numbers(m.GetHostPorts()),
		PortsAuto: m.GetPortsAuto(), Proxy: m.GetProxy(), CA: m.GetCa(),
	}
	if p := m.GetHandles().GetVmm(); p != nil {
		v.Handles.VMM = &Process{PID: int(p.GetPid())}
	}
	if m.GetWorkspaceGuest() != "" {
		v.Workspace = &WorkspacePaths{Host: m.GetWorkspaceHost(), Guest: m.GetWorkspaceGuest()}
	}
	return v
}

func imageValue(m *bangerv1.Image) Image {
	i := Image{
		Digest: m.GetDigest(), Name: m.GetName(), Arch: m.GetArch(), Source: m.GetSource(), Init: m.GetInit(),
		SizeBytes: m.GetSizeBytes(), DiskBytes: m.GetDiskBytes(),
		Env: list(m.GetEnv()), Workdir: m.GetWorkdir(), User: m.GetUser(), CreatedAt: instant(m.GetCreatedAt()),
		Tags: list(m.GetTags()), Platform: m.GetPlatform(), Reference: m.GetReference(), Manifest: m.GetManifest(),
		InitPath: m.GetInitPath(), Entrypoint: list(m.GetEntrypoint()), Cmd: list(m.GetCmd()), StopSignal: m.GetStopSignal(),
		Labels: m.GetLabels(), Default: m.GetDefault(),
	}
	if i.Labels == nil {
		i.Labels = map[string]string{}
	}
	return i
}

func kernelValue(m *bangerv1.Kernel) Kernel {
	return Kernel{
		Digest: m.GetDigest(), Name: m.GetName(), Arch: m.GetArch(), Release: m.GetRelease(), Source: m.GetSource(),
		SizeBytes: m.GetSizeBytes(), CreatedAt: instant(m.GetCreatedAt()),
	}
}

// list makes an absent list an empty one, which is [] in JSON.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func instant(t *timestamppb.Timestamp) time.Time { return t.AsTime() }

func maybe(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime()
	return &at
}
