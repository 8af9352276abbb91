package user

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	netdv1 "banger/api/netd/v1"
	"banger/api/netd/v1/netdv1connect"
	"banger/internal/apierror"
	"banger/internal/dirs"
	"banger/internal/model"
	netdprogram "banger/internal/netd"
	"banger/internal/procs"
	"banger/internal/unixsocket"
	"banger/internal/version"
)

// TestMain runs the tests, or, as fake-netd, a netd that carries nothing: it keeps what it was told, in its memory alone; as
// real-netd the one that is shipped, and as driver what is killed.
func TestMain(m *testing.M) {
	switch state := filepath.Dir(os.Args[0]); filepath.Base(os.Args[0]) {
	case "fake-netd":
		os.Exit(fakeNetd(state))
	case "real-netd":
		os.Exit(realNetd(state))
	case "driver":
		os.Exit(passEveryPoint(state, os.Args[1:]))
	}
	os.Exit(m.Run())
}

func realNetd(state string) int {
	announce := procs.Starter()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := os.Chmod(state, 0o700)
	if err == nil {
		err = netdprogram.Run(ctx, dirs.Dirs{State: state}, func() { announce("ready") })
	}
	switch {
	case errors.Is(err, netdprogram.ErrRunning):
		announce("running")
	case err != nil:
		announce("error: " + err.Error())
		return 1
	}
	return 0
}

type fake struct {
	netdv1connect.UnimplementedNetdServiceHandler
	protocol uint32
	version  string
	end      func()

	mu    sync.Mutex
	ports map[string]*netdv1.Port
	holds int
}

func fakeNetd(state string) int {
	pipe := os.NewFile(3, "starter")
	say := func(line string) { fmt.Fprintln(pipe, line); pipe.Close() }
	lock, err := procs.TryLock(filepath.Join(state, "netd.lock"))
	if err != nil {
		say("running")
		return 0
	}
	defer lock.Close()
	l, err := unixsocket.Listen(filepath.Join(state, "netd.sock"))
	if err != nil {
		say("error: " + err.Error())
		return 1
	}
	taps := filepath.Join(state, "netd.taps")
	if _, err := unixsocket.Listen(taps); err != nil { // nobody is handed anything in these tests
		say("error: " + err.Error())
		return 1
	}
	defer os.Remove(taps)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	f := &fake{ports: map[string]*netdv1.Port{}, end: stop, protocol: protocol, version: version.Version}
	if os.Remove(filepath.Join(state, "other-protocol")) == nil {
		f.protocol = protocol + 1
	}
	if os.Remove(filepath.Join(state, "other-version")) == nil {
		f.version = "another"
	}
	rpc := connect.NewServer()
	netdv1connect.RegisterNetdServiceHandler(rpc, f)
	mux := http.NewServeMux()
	connecthttp.Mount(mux, rpc)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: mux, Protocols: protocols}
	go func() { _ = server.Serve(l) }()
	say("ready")
	<-ctx.Done()
	os.Remove(filepath.Join(state, "netd.sock"))
	return 0
}

func (f *fake) Hello(context.Context, *netdv1.HelloRequest) (*netdv1.HelloResponse, error) {
	return &netdv1.HelloResponse{Protocol: f.protocol, Version: f.version, Pid: int32(os.Getpid())}, nil
}

func (f *fake) Hold(ctx context.Context, _ *netdv1.HoldRequest, stream netdv1connect.NetdServiceHoldServerStream) error {
	f.count(1)
	defer f.count(-1)
	if err := stream.Send(&netdv1.HoldResponse{}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (f *fake) count(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holds += n
	if f.holds == 0 && len(f.ports) == 0 {
		f.end()
	}
}

func (f *fake) Set(_ context.Context, r *netdv1.SetRequest) (*netdv1.SetResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := r.GetPort()
	if _, err := model.ParsePolicy(p.GetPolicy()); err != nil && !p.GetDirect() {
		return nil, apierror.ToRPC(err)
	}
	taken := map[uint32]bool{}
	for id, other := range f.ports {
		for _, w := range other.GetForwards() {
			taken[w.GetHostPort()] = id != p.GetVmId()
		}
	}
	for _, w := range p.GetForwards() {
		if taken[w.GetHostPort()] {
			return nil, apierror.ToRPC(model.Errorf(model.ErrExists, "port %d is taken", w.GetHostPort()))
		}
		for free := uint32(40000); w.GetHostPort() == 0; free++ {
			if _, used := taken[free]; !used {
				w.HostPort = free
			}
		}
		taken[w.GetHostPort()] = true
	}
	f.ports[p.GetVmId()] = p
	answer := &netdv1.SetResponse{Forwards: p.GetForwards()}
	if p.GetDirect() { // its doors are where they were, and new ones by its process
		if answer.Doors = p.GetDoors(); len(answer.Doors) == 0 {
			answer.Doors = []*netdv1.Door{{Port: 53, At: 1024 + uint32(os.Getpid())%60000}}
		}
	}
	return answer, nil
}

func (f *fake) Clear(_ context.Context, r *netdv1.ClearRequest) (*netdv1.ClearResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.ports, r.GetVmId())
	return &netdv1.ClearResponse{}, nil
}

func (f *fake) Keep(_ context.Context, r *netdv1.KeepRequest) (*netdv1.KeepResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := map[string]*netdv1.Port{}
	for _, id := range r.GetVmIds() {
		if p := f.ports[id]; p != nil {
			kept[id] = p
		}
	}
	f.ports = kept
	return &netdv1.KeepResponse{}, nil
}

func (f *fake) List(context.Context, *netdv1.ListRequest) (*netdv1.ListResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	res := &netdv1.ListResponse{}
	for _, p := range f.ports {
		res.Attachments = append(res.Attachments, &netdv1.Attachment{VmId: p.GetVmId(), Name: p.GetName(), Forwards: p.GetForwards()})
	}
	return res, nil
}

// Denied tells the port's policy and its name as if they had been refused.
func (f *fake) Denied(_ context.Context, r *netdv1.DeniedRequest) (*netdv1.DeniedResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.ports[r.GetVmId()]
	if p == nil {
		return nil, apierror.ToRPC(model.Errorf(model.ErrNotFound, "there is no such port"))
	}
	all := []*netdv1.Denial{{Protocol: "tcp", Destination: p.GetName(), Rule: p.GetPolicy()}}
	return &netdv1.DeniedResponse{Denials: append(all, r.GetRefused()...)}, nil
}

// Check says of tap:PID whether that is the process of the port's tap.
func (f *fake) Check(_ context.Context, r *netdv1.CheckRequest) (*netdv1.CheckResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fmt.Sprintf("tap:%d", f.ports[r.GetVmId()].GetTap().GetPid()) == r.GetDestination() {
		return &netdv1.CheckResponse{Allowed: true}, nil
	}
	return &netdv1.CheckResponse{Rule: "none but " + r.GetDestination()}, nil
}
