//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"banger/test/scenario"
)

// A world is a host in namespaces of the test's own, with a network beside it on which there are servers that are the
// internet, a private network and a cloud's metadata service to it. It needs no root.
//
//	host   11.0.0.1, 10.9.0.1      far   11.0.0.2, 11.0.0.3 (internet; .2 is also the resolver), 10.9.0.2 (private),
//	                                     100.64.0.2 (a provider's), 169.254.169.254 (metadata)
//
// web.example, which is .2, serves a page over TLS, by an authority that was added to the host's.
// The far side and the host record what reaches them in far.seen and host.seen; see record.
const (
	hostAddresses = "11.0.0.1/24 10.9.0.1/24"
	farAddresses  = "11.0.0.2/24 11.0.0.3/24 10.9.0.2/24 100.64.0.2/32 169.254.169.254/32"
)

// cmdWorld makes a world. What the script runs from then on runs in it.
func cmdWorld(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: world")
	}
	ctx, cancel := context.WithCancel(context.Background())
	self, err := os.Executable()
	ts.Check(err)
	cmd := exec.CommandContext(ctx, self, "world", ts.MkAbs("."))
	cmd.Env = scenario.Environment(ts)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:     true,
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Stderr = ts.Stderr()
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	scenario.Adopt(ts, "world", cmd, cancel)
	if line != "ready\n" {
		ts.Fatalf("the world did not come about: %q, %v", line, err)
	}
	ts.Setenv(scenario.World, strconv.Itoa(cmd.Process.Pid))
}

// mayMakeWorlds says whether this user may make the namespaces.
func mayMakeWorlds() bool {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
	}
	_, ip := exec.LookPath("ip")
	_, nsenter := exec.LookPath("nsenter")
	_, authorities := os.Stat(authorityDir)
	return ip == nil && nsenter == nil && authorities == nil && cmd.Run() == nil
}

// runWorld is the first process of a world, the host's side. It ends when it is killed.
func runWorld(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make the mounts private: %w", err)
	}
	if err := makeAuthority(dir); err != nil {
		return err
	}
	far, err := startFar(dir)
	if err != nil {
		return err
	}
	pid := strconv.Itoa(far.pid)
	commands := []string{"link set lo up", "link add v0 type veth peer name v1", "link set v1 netns " + pid, "link set v0 up"}
	for address := range strings.FieldsSeq(hostAddresses) {
		commands = append(commands, "addr add "+address+" dev v0")
	}
	if err := ip(append(commands, "route add default via 11.0.0.2")...); err != nil {
		return err
	}
	if err := far.begin(); err != nil {
		return err
	}
	resolv := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 11.0.0.2\nsearch corp.example\n"), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(resolv, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot give the world its resolver: %w", err)
	}
	seen, err := os.Create(filepath.Join(dir, "host.seen"))
	if err != nil {
		return err
	}
	if err := record(seen, "127.0.0.1", "11.0.0.1", "10.9.0.1"); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

// farSide is the process on the other end of the wire, in a network namespace of its own.
type farSide struct {
	pid   int
	stdin io.Writer
	ready *os.File
}

func startFar(dir string) (farSide, error) {
	self, err := os.Executable()
	if err != nil {
		return farSide{}, err
	}
	seen, err := os.Create(filepath.Join(dir, "far.seen"))
	if err != nil {
		return farSide{}, err
	}
	defer seen.Close()
	ready, theirs, err := os.Pipe()
	if err != nil {
		return farSide{}, err
	}
	defer theirs.Close()
	cmd := exec.Command(self, "far", dir)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = seen, os.Stderr, []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return farSide{}, err
	}
	if err := cmd.Start(); err != nil {
		return farSide{}, fmt.Errorf("cannot start the far side: %w", err)
	}
	return farSide{pid: cmd.Process.Pid, stdin: stdin, ready: ready}, nil
}

// begin tells the far side that its end of the wire is there, and returns when it serves.
func (f farSide) begin() error {
	if _, err := io.WriteString(f.stdin, "go\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(f.ready).ReadString('\n')
	if line != "ready\n" {
		return fmt.Errorf("the far side did not come about: %q, %v", line, err)
	}
	return nil
}

// runFar is the far side. It ends with the host's side.
func runFar(dir string) error {
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	commands := []string{"link set lo up", "link set v1 up"}
	var addresses []string
	for address := range strings.FieldsSeq(farAddresses) {
		commands = append(commands, "addr add "+address+" dev v1")
		plain, _, _ := strings.Cut(address, "/")
		addresses = append(addresses, plain)
	}
	if err := ip(append(commands, "route add default via 11.0.0.1")...); err != nil {
		return err
	}
	if err := record(os.Stdout, addresses...); err != nil {
		return err
	}
	if err := serveNames("11.0.0.2:53"); err != nil {
		return err
	}
	if err := serveSecurely(dir, "11.0.0.2:443"); err != nil {
		return err
	}
	fmt.Fprintln(os.NewFile(3, "ready"), "ready")
	_, _ = io.Copy(io.Discard, in)
	return nil
}

// ip runs the commands of ip(8), each once the kernel has what the one before made.
func ip(commands ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, c := range commands {
		out, err := exec.CommandContext(ctx, "ip", strings.Fields(c)...).CombinedOutput()
		if err != nil {
			return errors.Join(fmt.Errorf("ip %s: %w: %s", c, err, out), ctx.Err())
		}
	}
	return nil
}
