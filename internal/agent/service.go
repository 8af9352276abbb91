package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	agentv1 "banger/api/agent/v1"
	"banger/internal/model"
)

const (
	maxRounds = 1000
	maxPing   = 64 << 10
)

// Hello serves the greeting.
func (a *Agent) Hello(context.Context, *agentv1.HelloRequest) (*agentv1.HelloResponse, error) {
	return &agentv1.HelloResponse{
		Protocol: Protocol, AgentVersion: a.version, BootId: a.sys.BootID(), Generation: a.current().Generation,
		TimerRate: a.sys.TimerRate(),
	}, nil
}

// Configure serves the configuration of the guest. It goes on when its connection breaks; asked again, it waits for the
// end of the first and finds it done.
func (a *Agent) Configure(ctx context.Context, req *agentv1.ConfigureRequest) (*agentv1.ConfigureResponse, error) {
	a.configuring.Lock()
	defer a.configuring.Unlock()
	config := configOf(req)
	if config.Generation < 1 || config.Generation < a.current().Generation {
		return nil, verdict(model.Errorf(model.ErrInvalid, "generation %d is not one after %d", config.Generation, a.current().Generation))
	}
	if config.Generation == a.current().Generation {
		return &agentv1.ConfigureResponse{}, nil
	}
	if err := a.sys.Configure(context.WithoutCancel(ctx), config); err != nil {
		return nil, verdict(err)
	}
	config.Entropy, config.CA = nil, nil
	a.mu.Lock()
	a.config = config
	a.mu.Unlock()
	return &agentv1.ConfigureResponse{}, nil
}

func configOf(req *agentv1.ConfigureRequest) Config {
	c := Config{
		Generation: req.GetGeneration(), Hostname: req.GetHostname(), MachineID: req.GetMachineId(),
		Root: req.GetRoot(), Work: req.GetWork(), Modules: req.GetModules(), Init: model.InitAgent, InitPath: req.GetInitPath(),
		Env: req.GetEnv(), User: req.GetUser(), Workdir: req.GetWorkdir(), Entropy: req.GetEntropy(), CA: req.GetCa(),
		StopSignal: int(req.GetStopSignal()),
	}
	if req.GetJoin() == agentv1.Join_JOIN_OVERLAY {
		c.Join = model.JoinOverlay
	}
	if req.GetInit() == agentv1.Init_INIT_SYSTEMD {
		c.Init = model.InitSystemd
	}
	if l := req.GetLink(); l != nil {
		c.Link = Link{MAC: l.GetMac(), MTU: int(l.GetMtu()), Address: l.GetAddress(), Gateway: l.GetGateway(), DNS: l.GetDns(), Search: l.GetSearch()}
	}
	if req.GetTime() != nil {
		c.Time = req.GetTime().AsTime()
	}
	return c
}

// Sync serves the writing of dirty pages.
func (a *Agent) Sync(context.Context, *agentv1.SyncRequest) (*agentv1.SyncResponse, error) {
	if err := a.sys.Sync(); err != nil {
		return nil, verdict(err)
	}
	return &agentv1.SyncResponse{}, nil
}

// Stop serves the end of the guest. It answers at once: after the end nothing can. Asked again meanwhile, it does nothing.
func (a *Agent) Stop(_ context.Context, req *agentv1.StopRequest) (*agentv1.StopResponse, error) {
	if a.stopping.CompareAndSwap(false, true) {
		go func() {
			err := a.sys.Stop(req.GetGrace().AsDuration())
			a.stopping.Store(false)
			if err != nil {
				slog.Error("the guest cannot power off", "error", err)
			}
		}()
	}
	return &agentv1.StopResponse{}, nil
}

// Ping serves the echo.
func (a *Agent) Ping(_ context.Context, req *agentv1.PingRequest) (*agentv1.PingResponse, error) {
	if len(req.GetPayload()) > maxPing {
		return nil, verdict(model.Errorf(model.ErrInvalid, "a ping carries at most %d bytes", maxPing))
	}
	return &agentv1.PingResponse{Payload: req.GetPayload()}, nil
}

// Measure serves the timing of fork, exec and wait.
func (a *Agent) Measure(ctx context.Context, req *agentv1.MeasureRequest) (*agentv1.MeasureResponse, error) {
	c, err := a.commandOf(req.GetCommand())
	if err != nil {
		return nil, verdict(err)
	}
	c.Stdin, c.TTY = false, false
	answer := &agentv1.MeasureResponse{}
	for range min(req.GetRounds(), maxRounds) {
		if ctx.Err() != nil {
			return nil, verdict(ctx.Err())
		}
		took, err := a.measure(c)
		if err != nil {
			return nil, verdict(model.Errorf(model.ErrInvalid, "cannot run it: %w", err))
		}
		answer.Nanoseconds = append(answer.Nanoseconds, took.Nanoseconds())
	}
	return answer, nil
}

func (a *Agent) measure(c Command) (time.Duration, error) {
	begin := time.Now()
	p, err := a.sys.Start(c)
	if err != nil {
		return 0, err
	}
	p.Wait()
	took := time.Since(begin)
	var drained sync.WaitGroup
	for _, r := range []Reader{p.Stdout(), p.Stderr()} {
		if r != nil {
			drained.Go(func() { discard(r) })
		}
	}
	drained.Wait()
	return took, p.Close()
}
