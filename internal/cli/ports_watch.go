package cli

import (
	"context"
	"fmt"
	"io"
	"sync"

	"banger/client"
)

// announcePorts says where each port that appears on the host is, until the returned function is called. It is a comfort
// beside a command or a shell: what goes wrong with it is not said.
func (a *app) announcePorts(ctx context.Context, c *client.Client, v client.VM) (stop func()) {
	if a.quiet || !v.PortsAuto {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		said := map[client.Port]bool{}
		_ = c.WatchPorts(ctx, v.ID, func(ports []client.Port) error {
			there := map[client.Port]bool{}
			for _, p := range ports {
				there[p] = true
				if p.Auto && !said[p] {
					a.sayBeside(fmt.Sprintf("port %d of %s is at %s", p.GuestPort, v.Name, p.URL))
				}
			}
			said = there
			return nil
		})
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// sayBeside prints a line while a guest's program may have our terminal, which then returns to no line's begin by itself.
func (a *app) sayBeside(line string) {
	end := "\n"
	if isTerminal(a.Err) {
		end = "\r\n"
	}
	_, _ = io.WriteString(a.Err, "banger: "+safeLine(line)+end)
}
