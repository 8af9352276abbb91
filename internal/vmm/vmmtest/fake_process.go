package vmmtest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/agent"
	"banger/internal/model"
)

// fakeVariable holds a fake VMM's orders and makes the program be one.
const fakeVariable = "BANGER_FAKE_VMM"

type fakeOrders struct {
	ID        model.VMID `json:"id"`
	Behaviour Behaviour  `json:"behaviour"`
	Disk      string     `json:"disk"`
	Version   string     `json:"version"`
}

// RunIfFake makes the process a fake VMM when a Fake started it so, and then does not return. TestMain calls it first.
func RunIfFake() {
	raw := os.Getenv(fakeVariable)
	if raw == "" {
		return
	}
	var orders fakeOrders
	if err := json.Unmarshal([]byte(raw), &orders); err != nil {
		os.Exit(1)
	}
	os.Exit(newFakeVMM(orders).run())
}

// fakeVMM is what runs in the process.
type fakeVMM struct {
	orders   fakeOrders
	end      chan string // the reason of the end
	listener [len(fakeSockets)]net.Listener

	mu       sync.Mutex
	running  bool
	monitors []net.Conn
	console  net.Conn
	last     func() // ends the last agent connection
}

func newFakeVMM(o fakeOrders) *fakeVMM { return &fakeVMM{orders: o, end: make(chan string, 1)} }

func (v *fakeVMM) run() int {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	for i := range fakeSockets {
		fd := i + 3
		// Listening again makes this process the peer that clients see, as QEMU does too.
		if err := unix.Listen(fd, 8); err != nil {
			return 1
		}
		file := os.NewFile(uintptr(fd), fakeSockets[i])
		l, err := net.FileListener(file)
		file.Close()
		if err != nil {
			return 1
		}
		v.listener[i] = l
	}
	// Who started us has connected before: its connections are served first, so that it misses nothing.
	monitor, err := v.listener[0].Accept()
	if err != nil {
		return 1
	}
	v.watch(monitor)
	if v.console, err = v.listener[1].Accept(); err != nil {
		return 1
	}
	if v.orders.Behaviour == ExitAtOnce {
		v.tell("failed it was told to")
		return 1
	}
	system, err := NewSystem(SystemOptions{
		Disk: v.orders.Disk, Files: filepath.Join(filepath.Dir(v.orders.Disk), fakeFiles), PowerOff: func() { v.finish("poweroff") },
		TimerRate: map[Behaviour]float64{LateTimer: 2, NoTimer: 1e-4}[v.orders.Behaviour],
	})
	if err != nil {
		return 1
	}
	v.print("fake guest %s boots, boot id %s\n", v.orders.ID, system.BootID())
	go v.accept(0, v.watch)
	go v.accept(1, v.attachConsole)
	v.mu.Lock()
	v.running = true
	v.mu.Unlock()
	v.tell("running")
	v.boot(system)
	reason := <-v.end
	v.tell(reason)
	return 0
}

// boot is the guest's.
func (v *fakeVMM) boot(system *System) {
	switch v.orders.Behaviour {
	case PanicAtBoot:
		v.print("Kernel panic - not syncing: it was told to\n")
		v.finish("panic Kernel panic - not syncing: it was told to")
		return
	case ResetAtBoot:
		v.finish("reset")
		return
	case Flood:
		go func() {
			for {
				v.print("%s\n", rand.Text())
			}
		}()
	}
	a := agent.New(system, v.orders.Version)
	v.print("fake agent listens\n")
	go v.accept(2, func(conn net.Conn) { v.serve(a, conn) })
}

// serve gives the agent's port to conn and takes it from whoever had it.
func (v *fakeVMM) serve(a *agent.Agent, conn net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	v.mu.Lock()
	last := v.last
	v.last = func() { cancel(); conn.Close() }
	v.mu.Unlock()
	if last != nil {
		last()
	}
	switch v.orders.Behaviour {
	case NeverReady:
	case Rubbish, Flood:
		say(conn, "\n")
		_ = conn.SetWriteDeadline(time.Time{})
		go func() {
			for many := v.orders.Behaviour == Flood; ; {
				if _, err := conn.Write([]byte(rand.Text() + "\n")); err != nil || !many {
					return
				}
			}
		}()
	default:
		say(conn, "\n") // what Machine.Agent waits for
		_ = conn.SetWriteDeadline(time.Time{})
		go func() { _ = a.ServeConn(ctx, conn) }()
	}
}

func (v *fakeVMM) finish(reason string) {
	select {
	case v.end <- reason:
	default:
	}
}

func (v *fakeVMM) accept(socket int, use func(net.Conn)) {
	for {
		conn, err := v.listener[socket].Accept()
		if err != nil {
			return
		}
		use(conn)
	}
}

func (v *fakeVMM) watch(conn net.Conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.monitors = append(v.monitors, conn)
	if v.running {
		say(conn, "running\n")
	}
}

func (v *fakeVMM) attachConsole(conn net.Conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.console.Close()
	v.console = conn
}

// tell says a line to all who watch.
func (v *fakeVMM) tell(line string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, conn := range v.monitors {
		say(conn, line+"\n")
	}
}

// print writes to the console; what a slow reader does not take is lost, as on a real one.
func (v *fakeVMM) print(format string, args ...any) {
	v.mu.Lock()
	conn := v.console
	v.mu.Unlock()
	say(conn, fmt.Sprintf(format, args...))
}

// say writes as much as is taken at once; who does not listen misses it.
func say(conn net.Conn, text string) {
	_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = conn.Write([]byte(text))
}
