package linux

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"banger/internal/agent"
	"banger/internal/channel"
)

// agentName is the agent's argv[0]; see the package's documentation for the @.
const agentName = "@banger-agent"

// The names of the two virtio-serial ports to the host.
const (
	portData    = "banger.data"
	portControl = "banger.control"
)

// Run is the whole program: process 1 of a guest, or the agent that it starts. It returns only when it failed.
func Run(version string) error {
	switch {
	case os.Args[0] == agentName:
		return serve(version)
	case os.Getpid() == 1 && filepath.Base(os.Args[0]) == shutdownName && len(os.Args) > 1:
		return shutdown(os.Args[1])
	case os.Getpid() == 1:
		return boot()
	case len(os.Args) == 2 && os.Args[1] == "--version":
		_, err := fmt.Fprintln(os.Stdout, version)
		return err
	}
	return fmt.Errorf("cannot run outside of a guest: this program is the first process of banger's virtual machines")
}

func serve(version string) error {
	// Fails only without /proc, and then the name does not matter.
	_ = os.WriteFile("/proc/self/comm", []byte("banger-agent"), 0)
	if err := raiseFileLimit(); err != nil {
		return err
	}
	system, err := newSystem(os.NewFile(3, "process 1"))
	if err != nil {
		return err
	}
	listener, err := listen(system)
	if err != nil {
		return err
	}
	defer listener.Close()
	a := agent.New(system, version)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("cannot hear the host: %w", err)
		}
		if err := a.ServeConn(context.Background(), conn); err != nil {
			fmt.Fprintln(os.Stderr, "banger-agent: a connection ended:", err)
		}
	}
}

// hostListener yields the host's connections, one at a time.
type hostListener interface {
	Accept() (net.Conn, error)
	Close() error
}

// listen opens the channel that this machine has.
func listen(s *System) (hostListener, error) {
	if told(channelParameter) {
		fd, err := receiveVsock(s.first)
		if err != nil {
			return nil, err
		}
		return newVsockListener(fd)
	}
	data, err := openPort(portData)
	if err != nil {
		return nil, err
	}
	control, err := openPort(portControl)
	if err != nil {
		return nil, err
	}
	return channel.Listen(data, control), nil
}
