package guest

import (
	"context"
	"errors"
	"io"

	agentv1 "banger/api/agent/v1"
	"banger/internal/model"
)

// maxListeners caps what is taken of a guest's list.
const maxListeners = 1024

// WatchPorts calls report with the TCP ports that the guest listens on, at once and again after each change, until ctx
// ends, report fails or the connection does. eager has the guest look every second even when it is idle.
func (g *Guest) WatchPorts(ctx context.Context, eager bool, report func(ports []uint16) error) error {
	const doing = "cannot watch the guest's ports"
	stream, err := g.ports.Watch(ctx, &agentv1.WatchRequest{Eager: eager})
	if err != nil {
		return fromRPC(doing, err)
	}
	defer stream.Close()
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fromRPC(doing, err)
		}
		told := m.GetTcp()
		ports := make([]uint16, 0, min(len(told), maxListeners))
		for _, n := range told[:min(len(told), maxListeners)] {
			if n == 0 || n > 65535 {
				return model.Errorf(model.ErrCorrupt, "%s: %d is no port", doing, n)
			}
			ports = append(ports, uint16(n))
		}
		if err := report(ports); err != nil {
			return err
		}
	}
}
