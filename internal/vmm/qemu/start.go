package qemu

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/unixsocket"
	"banger/internal/vmm"
)

// monitorLimit is how long a new QEMU may take to answer: it reads the kernel and opens disks before that.
const monitorLimit = 60 * time.Second

// Start implements vmm.Driver.
func (d *Driver) Start(ctx context.Context, c vmm.Config) (vmm.Machine, error) {
	h := d.host(ctx)
	if h.problem != "" {
		return nil, model.Errorf(model.ErrUnsupported, "cannot start a VM: %s", h.problem)
	}
	argv, err := Argv(c, h.noKVM == "", h.tscKHz)
	if err != nil {
		return nil, err
	}
	m, err := d.launch(ctx, h.binary, argv, c)
	if err != nil {
		if removeErr := d.Remove(ctx, c.ID, c.Dir, model.Handles{}); removeErr != nil {
			d.Log.Warn("cannot remove the sockets of a VM that did not start", "error", removeErr)
		}
		return nil, err
	}
	return m, nil
}

func (d *Driver) launch(ctx context.Context, binary string, argv []string, c vmm.Config) (*machine, error) {
	ctx, cancel := context.WithTimeout(ctx, monitorLimit)
	defer cancel()
	files := []*os.File{c.Lock, nil, nil} // standard input, output, error
	defer func() { closeAll(files[1:]) }()
	for _, name := range sockets {
		l, err := unixsocket.Listen(filepath.Join(c.Dir, name))
		if err != nil {
			return nil, err
		}
		f, err := l.File()
		l.Close()
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	words, stderr, err := lastWords()
	if err != nil {
		return nil, err
	}
	files[2] = stderr
	if files[1], err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
		return nil, err
	}
	child, err := procs.Start(binary, argv, os.ProcAttr{
		Dir: c.Dir, Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}, Files: files,
		// A session of its own: no terminal's end reaches it.
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	runtime.KeepAlive(files)
	if err != nil {
		return nil, model.Errorf(model.ErrUnsupported, "cannot start QEMU: %w", err)
	}
	m := &machine{dir: c.Dir, process: child, child: child, words: words, log: d.Log}
	if err := m.begin(ctx); err != nil {
		// Dead first: then its last words are complete.
		if killErr := child.Kill(context.WithoutCancel(ctx)); killErr != nil {
			d.Log.Error("cannot kill a QEMU that did not start", "error", killErr)
		}
		<-child.Reaped()
		m.Close()
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		if said := words.String(); said != "" {
			err = fmt.Errorf("%s", said)
		}
		return nil, model.Errorf(model.ErrUnavailable, "QEMU did not start: %w", err)
	}
	return m, nil
}

// begin connects to a QEMU that is starting and lets its guest go.
func (m *machine) begin(ctx context.Context) error {
	// The console first: by the time the monitor answers, QEMU has taken it.
	if err := m.connect(ctx); err != nil {
		return err
	}
	return m.monitor.do(ctx, "cont")
}

// connect makes the connections that a machine keeps: its console and its monitor.
func (m *machine) connect(ctx context.Context) error {
	console, err := m.dial(ctx, socketConsole)
	if err != nil {
		return err
	}
	m.console = newConsole(console)
	conn, err := m.dial(ctx, socketQMP)
	if err != nil {
		return err
	}
	// A QEMU that dies takes its monitor with it, but its listening socket dies first: watch the process as well.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-m.process.Done():
			cancel(model.Errorf(model.ErrUnavailable, "QEMU ended"))
			conn.Close()
		case <-ended:
		}
	}()
	m.monitor, err = openMonitor(ctx, conn)
	return err
}

func (m *machine) dial(ctx context.Context, name string) (net.Conn, error) {
	return unixsocket.Dial(ctx, filepath.Join(m.dir, name))
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
