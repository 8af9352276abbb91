package firecracker

import (
	"bufio"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"banger/internal/agent"
	"banger/internal/channel"
	"banger/internal/helper/jail"
	"banger/internal/model"
	"banger/internal/vmm/vmmtest"
)

// TestMain makes the test's program a stand-in for Firecracker when the driver runs it so, and a daemon with one VM for the
// tests of crash points.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "--api-sock" || os.Args[1] == "--version") {
		os.Exit(standIn(os.Args[1:]))
	}
	if what := os.Getenv(actVariable); what != "" {
		os.Exit(act(strings.Split(what, " ")))
	}
	goleak.VerifyTestMain(m)
}

//go:embed testdata/*.json
var recordings embed.FS

// play returns a recording; it has been read before by the tests, which tell what is wrong with it.
func play(name string) (r recording) {
	raw, err := recordings.ReadFile("testdata/" + name + ".json")
	if err != nil || json.Unmarshal(raw, &r) != nil {
		os.Exit(2)
	}
	return r
}

// standIn behaves as the recordings say that Firecracker does, around a guest that is vmmtest's. It is a process of its
// own, with Firecracker's files, sockets, log and exit codes; it proves the driver's side of them.
func standIn(args []string) int {
	start := play("start")
	if args[0] == "--version" {
		fmt.Printf("Firecracker v%s\n", start.Version)
		return 0
	}
	// These and no others: --no-seccomp would take its filters, and --enable-pci give its guest PCI.
	socket := socketAPI
	if os.Getenv(sharedVariable) != "" {
		socket = filepath.Join(jail.Inside, jail.Socket)
	}
	if len(args) != 6 || !model.VMID(args[3]).Valid() || !slices.Equal(args, []string{"--api-sock", socket, "--id", args[3], "--level", "Info"}) {
		fmt.Fprintln(os.Stderr, "unexpected arguments:", args)
		return 153
	}
	signal.Ignore(syscall.SIGPIPE)
	v := &standInVMM{start: start, end: make(chan string, 1)}
	for line := range strings.Lines(start.Log) {
		fmt.Print(line)
	}
	l, err := net.Listen("unix", at(args[1]))
	if err != nil {
		return 1
	}
	go func() { _ = http.Serve(l, v) }()
	ended := play(<-v.end)
	fmt.Print(ended.Log)
	return ended.Code
}

// standInVMM answers the API.
type standInVMM struct {
	start recording
	end   chan string // the recording of its end

	mu     sync.Mutex
	serial *os.File
	vsock  net.Listener
	last   func() // ends the last agent connection
}

// ServeHTTP answers a call as it was answered to the same one in the recording of a start; others are refused.
func (v *standInVMM) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, e := range v.start.Exchanges {
		if r.Method != http.MethodPut || path.Dir(e.Path) != path.Dir(r.URL.Path) || path.Dir(e.Path) == "/" && e.Path != r.URL.Path {
			continue
		}
		if err := v.act(r); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"fault_message": err.Error()})
			return
		}
		w.WriteHeader(e.Status)
		return
	}
	w.WriteHeader(http.StatusBadRequest)
	_, _ = fmt.Fprintf(w, `{"fault_message":"unexpected %s %s"}`, r.Method, r.URL.Path)
}

func (v *standInVMM) act(r *http.Request) (err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	strict := json.NewDecoder(r.Body)
	strict.DisallowUnknownFields()
	switch r.URL.Path {
	case "/serial":
		var s serialDevice
		if err = strict.Decode(&s); err == nil {
			v.serial, err = os.OpenFile(at(s.SerialOutPath), os.O_RDWR|syscall.O_NONBLOCK, 0)
		}
	case "/vsock":
		var s vsockDevice
		if err = strict.Decode(&s); err == nil {
			v.vsock, err = net.Listen("unix", at(s.UDSPath))
		}
	case "/actions":
		var a action
		if err = strict.Decode(&a); err == nil && a.ActionType == "InstanceStart" {
			go v.boot()
		}
	}
	return err
}

// boot is the guest's.
func (v *standInVMM) boot() {
	system, err := vmmtest.NewSystem(vmmtest.SystemOptions{PowerOff: func() { v.end <- "poweroff" }})
	if err != nil {
		os.Exit(2)
	}
	fmt.Fprintln(v.serial, "Linux version 0")
	a := agent.New(system, "")
	for {
		conn, err := v.vsock.Accept()
		if err != nil {
			os.Exit(2)
		}
		go v.serve(a, conn)
	}
}

// serve gives the agent to conn and takes it from whoever had it.
func (v *standInVMM) serve(a *agent.Agent, conn net.Conn) {
	r := bufio.NewReaderSize(conn, 16)
	line, err := r.ReadString('\n')
	if err != nil || line != fmt.Sprintf("CONNECT %d\n", channel.VsockPort) || r.Buffered() > 0 {
		conn.Close() // as Firecracker hangs up on what is no call, or one that nobody takes
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	v.mu.Lock()
	last := v.last
	v.last = func() { cancel(); conn.Close() }
	v.mu.Unlock()
	if last != nil {
		last()
	}
	fmt.Fprint(conn, "OK 1073741824\n")
	_ = a.ServeConn(ctx, conn)
}
