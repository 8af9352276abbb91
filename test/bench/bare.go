package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"banger/internal/channel"
	"banger/internal/guest"
	"banger/internal/unixsocket"
)

// bareVMM is QEMU without banger: its arguments are those of a VM that banger started, its disks are copies of those of
// one that banger made and never started.
type bareVMM struct {
	argv     []string // of the VM in from
	from     string   // the directory of the VM that argv names
	template string   // the directory of the VM whose disks are copied
}

// newBare lets banger make both VMs. The one that was never started stays.
func newBare(ctx context.Context, m *home) (bareVMM, error) {
	if err := m.startVM(ctx, "sample"); err != nil {
		return bareVMM{}, err
	}
	sample, err := m.find(ctx, "sample")
	if err != nil {
		return bareVMM{}, err
	}
	pid, err := vmmPID(sample.dir)
	if err != nil {
		return bareVMM{}, err
	}
	b := bareVMM{from: sample.dir}
	if b.argv, err = argvOf(pid); err != nil {
		return b, err
	}
	if _, err := m.banger(ctx, "vm", "delete", "sample"); err != nil {
		return b, err
	}
	if _, err := m.banger(ctx, "vm", "create", "--name", "template"); err != nil {
		return b, err
	}
	template, err := m.find(ctx, "template")
	b.template = template.dir
	return b, err
}

// sockets are those that QEMU inherits from descriptor 3 on; the first two wait for their reader. Frames for the network's
// are lost while nobody is connected to it.
var sockets = [...]string{"qmp", "console", "agent.data", "agent.control", "link"}

// bareVM is one bare QEMU.
type bareVM struct {
	dir     string
	cmd     *exec.Cmd
	begun   time.Time
	console *bufio.Reader
	conns   []net.Conn
	stderr  strings.Builder // for errors; complete once cmd has ended
}

// start runs QEMU with more kernel parameters. Its disks are there before the clock starts.
func (b bareVMM) start(ctx context.Context, h *host, parameters ...string) (_ *bareVM, err error) {
	dir, err := os.MkdirTemp(h.dir, "bare-")
	if err != nil {
		return nil, err
	}
	v := &bareVM{dir: dir}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	if err := copyDisks(b.template, dir); err != nil {
		return nil, err
	}
	argv := slices.Clone(b.argv)
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], b.from, dir)
		if i > 0 && argv[i-1] == "-append" {
			argv[i] = strings.Join(append([]string{argv[i]}, parameters...), " ")
		}
	}
	v.cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	v.cmd.Stderr = &v.stderr
	for _, name := range sockets {
		if err := v.listen(ctx, name); err != nil {
			return nil, err
		}
	}
	defer func() {
		for _, f := range v.cmd.ExtraFiles {
			f.Close()
		}
	}()
	v.console = bufio.NewReader(v.conns[1])
	v.begun = time.Now()
	return v, v.cmd.Start()
}

// listen makes one of the sockets; the monitor and the console are connected at once.
func (v *bareVM) listen(ctx context.Context, name string) error {
	l, err := unixsocket.Listen(filepath.Join(v.dir, name))
	if err != nil {
		return err
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return err
	}
	v.cmd.ExtraFiles = append(v.cmd.ExtraFiles, f)
	if len(v.cmd.ExtraFiles) > 2 {
		return nil
	}
	conn, err := unixsocket.Dial(ctx, filepath.Join(v.dir, name))
	v.conns = append(v.conns, conn)
	return err
}

// await reads the console up to a line and returns when that came, counted from QEMU's start.
func (v *bareVM) await(ctx context.Context, want string) (time.Duration, error) {
	defer context.AfterFunc(ctx, func() { v.conns[1].Close() })()
	var seen []string
	for {
		line, err := v.console.ReadString('\n')
		if err != nil {
			v.close()
			return 0, fmt.Errorf("cannot find %q on the console: %w after %q; QEMU says %q", want, err, seen, v.stderr.String())
		}
		if line = strings.TrimSpace(line); line == want {
			return time.Since(v.begun), nil
		}
		seen = append(seen, line)
	}
}

// drain reads the console, for a guest that is not timed by it, until QEMU ends.
func (v *bareVM) drain() { _, _ = v.console.WriteTo(io.Discard) }

// agent speaks to the guest.
func (v *bareVM) agent(ctx context.Context) (*guest.Guest, error) { return agentIn(ctx, v.dir) }

// agentIn speaks to the agent of the VM in dir, which no daemon may be doing.
func agentIn(ctx context.Context, dir string) (*guest.Guest, error) {
	data, err := unixsocket.Dial(ctx, filepath.Join(dir, "agent.data"))
	if err != nil {
		return nil, err
	}
	control, err := unixsocket.Dial(ctx, filepath.Join(dir, "agent.control"))
	if err != nil {
		data.Close()
		return nil, err
	}
	conn, err := channel.Dial(ctx, data, control)
	if err != nil {
		return nil, err
	}
	return guest.Connect(ctx, conn)
}

func (v *bareVM) cpu() (time.Duration, error) { return cpuTime(v.cmd.Process.Pid) }

// close ends QEMU and removes what it had. Twice is fine.
func (v *bareVM) close() {
	if v.cmd != nil && v.cmd.Process != nil {
		_ = v.cmd.Process.Kill()
		_ = v.cmd.Wait() // it was killed: its end is no news
	}
	for _, c := range v.conns {
		c.Close()
	}
	_ = os.RemoveAll(v.dir) // a temporary directory
}

// copyDisks copies the disks of a VM that was never started: small files, mostly holes.
func copyDisks(from, to string) error {
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		if e.Type().IsRegular() {
			name := filepath.Join(from, e.Name())
			out, cpErr := exec.Command("cp", "--sparse=always", "--", name, to).CombinedOutput()
			if cpErr != nil {
				err = errors.Join(err, fmt.Errorf("cannot copy %s: %w: %s", name, cpErr, out))
			}
		}
	}
	return err
}
