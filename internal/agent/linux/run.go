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
const agentName = "@init"

// ordersFD is where the agent has its end of the socket to process 1.
const ordersFD = 101

// The names of the two virtio-serial ports to the host.
const (
	portData    = "banger.data"
	portControl = "banger.control"
)

// Run is the whole program but for process 1's part in a guest, which does not get here. It returns only when it failed.
func Run(version string) error {
	switch {
	case os.Args[0] == agentName:
		return boot(version)
	case os.Getpid() == 1 && filepath.Base(os.Args[0]) == shutdownName && len(os.Args) > 1:
		return shutdown(os.Args[1])
	case os.Getpid() == 1:
		return end(fmt.Errorf("cannot start the agent: process 1 could not make another, or this program was linked without its entry"))
	case len(os.Args) == 2 && os.Args[1] == "--version":
		_, err := fmt.Fprintln(os.Stdout, version)
		return err
	}
	return fmt.Errorf("cannot run outside of a guest: this program is the first process of banger's virtual machines")
}

// serve serves the host. The modules are loaded beside the making of the agent.
func serve(version string) error {
	// Fails only without /proc, and then the name does not matter.
	_ = os.WriteFile("/proc/self/comm", []byte("banger-agent"), 0)
	if err := raiseFileLimit(); err != nil {
		return err
	}
	opened := make(chan struct{})
	var listener hostListener
	var failed error
	go func() {
		defer close(opened)
		listener, failed = listen()
	}()
	system, err := newSystem(os.NewFile(ordersFD, "process 1"))
	if err != nil {
		return err
	}
	a := agent.New(system, version)
	if <-opened; failed != nil {
		return failed
	}
	defer listener.Close()
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

// listen loads the early modules and opens the channel that this machine has.
func listen() (hostListener, error) {
	if _, err := loadModules(); err != nil {
		return nil, err
	}
	if told(channelParameter) {
		return openVsock()
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
