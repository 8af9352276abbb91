// Package server serves the host API: it converts, calls the services and maps their errors.
package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/image"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/unixsocket"
	"banger/internal/vm"
)

// VMs is the VM service, as *vm.Service has it.
type VMs interface {
	Create(ctx context.Context, r vm.CreateRequest) (*operation.Operation, error)
	Start(ctx context.Context, id model.VMID) (*operation.Operation, error)
	Stop(ctx context.Context, id model.VMID, grace time.Duration) (*operation.Operation, error)
	Restart(ctx context.Context, id model.VMID, grace time.Duration) (*operation.Operation, error)
	Kill(ctx context.Context, id model.VMID) (*operation.Operation, error)
	Delete(ctx context.Context, id model.VMID) (*operation.Operation, error)
	List(ctx context.Context) ([]vm.View, error)
	Resolve(ctx context.Context, refs []string) ([]vm.Resolution, error)
	HoldLease(ctx context.Context, id model.VMID) (release func(), err error)
	Logs(ctx context.Context, id model.VMID, follow bool, tailBytes int64, w io.Writer) error
	Exec(ctx context.Context, id model.VMID, spec model.ExecSpec, shell bool) (vm.Process, error)
	Files
	Workspaces
}

// Images is the image service, as *image.Service has it.
type Images interface {
	Images(ctx context.Context) ([]model.Image, error)
	Image(ctx context.Context, ref string) (model.Image, error)
	BuildImage(ctx context.Context, name string, force bool, report model.Report) (model.Image, error)
	DeleteImage(ctx context.Context, ref string) (model.Image, error)
	DefaultImage(ctx context.Context) (string, error)
	Import(ctx context.Context, r image.ImportRequest, report model.Report) (model.Image, error)
	Obtain(ctx context.Context, w image.Want, report model.Report) (model.Image, error)
	Pull(ctx context.Context, w image.Want, report model.Report) (model.Image, error)
	Register(ctx context.Context, r image.RegisterRequest, report model.Report) (model.Image, error)
	Tag(ctx context.Context, ref, name string) (model.Image, error)
	Promote(ctx context.Context, ref string) (model.Image, error)
	Prune(ctx context.Context, all, dryRun bool) (image.Pruned, error)
	Kernels(ctx context.Context) ([]model.Kernel, error)
	Kernel(ctx context.Context, ref string) (model.Kernel, error)
	DeleteKernel(ctx context.Context, ref string) (model.Kernel, error)
}

// Options are the finished values that the API serves. None may be nil.
type Options struct {
	VMs        VMs
	Networks   Networks
	Images     Images
	Operations *operation.Runner
	Status     func(ctx context.Context) Status
	Stop       func() // asks the daemon to end; returns at once
	Log        *slog.Logger
}

// Server is the host API.
type Server struct {
	log      *slog.Logger
	http     *http.Server
	stopping chan struct{}
	stop     func() // closes stopping, once
}

// New returns a Server. It listens nowhere yet.
func New(o Options) *Server {
	s := &Server{log: o.Log, stopping: make(chan struct{})}
	s.stop = sync.OnceFunc(func() { close(s.stopping) })
	rpc := connect.NewServer(s.observe, requireProtocol, s.endStreams)
	bangerv1connect.RegisterDaemonServiceHandler(rpc, &daemonService{status: o.Status, stop: o.Stop})
	bangerv1connect.RegisterVMServiceHandler(rpc, newVMService(o.VMs))
	bangerv1connect.RegisterNetworkServiceHandler(rpc, &networkService{vms: o.Networks})
	bangerv1connect.RegisterFileServiceHandler(rpc, &fileService{files: o.VMs})
	bangerv1connect.RegisterWorkspaceServiceHandler(rpc, &workspaceService{workspaces: o.VMs})
	bangerv1connect.RegisterImageServiceHandler(rpc, &imageService{images: o.Images, operations: o.Operations})
	bangerv1connect.RegisterKernelServiceHandler(rpc, &kernelService{images: o.Images})
	bangerv1connect.RegisterOperationServiceHandler(rpc, &operationService{operations: o.Operations})
	mux := http.NewServeMux()
	// Compression costs more than a Unix socket: none is offered.
	connecthttp.Mount(mux, rpc, connecthttp.WithCompressors(), connecthttp.WithReadMaxBytes(8<<20))
	s.http = httpServer(mux, o.Log)
	return s
}

// Serve answers the clients that come to l, those of our own user, until Shutdown; then it returns http.ErrServerClosed.
// It may serve several listeners, and closes them.
func (s *Server) Serve(l net.Listener) error { return s.http.Serve(unixsocket.SameUser(l, s.log)) }

// Shutdown ends every stream, lets other requests finish and returns when all have, or with ctx's error once the rest
// has been cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	return err
}

// Flow control: a command that reads none of its input holds up its own stream's share only, so that its signals and
// every other call on the connection still get through.
const (
	streamWindow     = 256 << 10
	connectionWindow = 16 << 20
)

// httpServer sets no deadlines: a command may run for days, and everyone who can reach it is its own user.
func httpServer(handler http.Handler, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	protocols.SetHTTP1(true) // for curl
	return &http.Server{
		Handler:   handler,
		Protocols: protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          1000,
			MaxReceiveBufferPerStream:     streamWindow,
			MaxReceiveBufferPerConnection: connectionWindow,
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
