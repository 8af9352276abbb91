package agent

import (
	"context"

	agentv1 "banger/api/agent/v1"
	"banger/api/agent/v1/agentv1connect"
)

// MaxListeners is how many listening ports are told.
const MaxListeners = 1024

// portService serves the watching of the guest's listeners.
type portService struct{ agent *Agent }

// Watch implements the service. Somebody waits for the listeners when a command of the host's runs in the guest, be its
// client attached or not, or when the host says so.
func (p portService) Watch(ctx context.Context, req *agentv1.WatchRequest, stream agentv1connect.PortServiceWatchServerStream) error {
	eager := func() bool { return req.GetEager() || p.agent.table.busy() }
	err := p.agent.sys.WatchListeners(ctx, eager, func(ports []uint16) error {
		m := &agentv1.WatchResponse{}
		for _, port := range ports[:min(len(ports), MaxListeners)] {
			m.Tcp = append(m.Tcp, uint32(port))
		}
		return stream.Send(m)
	})
	return verdict(err)
}
