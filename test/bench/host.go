package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/dirs"
	"banger/internal/model"
)

// host is what all rows share: the programs under test and built images.
type host struct {
	dir    string // everything that the bench makes, gone at its end
	bin    string // where the programs under test came from
	shared string // data and cache homes
}

// session is one run of the bench.
type session struct {
	*host
	pairs int
	boots int
}

func newHost() (*host, error) {
	shared := os.Getenv("BANGER_E2E_SHARED")
	if shared == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		shared = filepath.Join(cache, "banger-e2e")
	}
	dir, err := os.MkdirTemp("", "banger-bench-")
	if err != nil {
		return nil, err
	}
	h := &host{dir: dir, bin: os.Getenv("BANGER_E2E_BIN"), shared: shared}
	if h.bin == "" {
		h.bin = "bin"
	}
	for _, program := range []string{"banger", "bangerd", "banger-agent", "banger-netd"} {
		if err := copyProgram(filepath.Join(h.bin, program), filepath.Join(dir, program)); err != nil {
			h.close()
			return nil, fmt.Errorf("%w; run make build", err)
		}
	}
	return h, nil
}

func (h *host) close() { _ = os.RemoveAll(h.dir) }

// memoryDir makes a directory, which its caller removes, in memory where the host has room for so many bytes there, else
// on disk: how long a disk takes depends on what was removed from it before.
func (h *host) memoryDir(room uint64) (string, error) {
	const memory = "/dev/shm"
	var fs unix.Statfs_t
	if err := unix.Statfs(memory, &fs); err == nil && fs.Bavail*uint64(fs.Bsize) >= room {
		if dir, err := os.MkdirTemp(memory, "banger-bench-"); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp(h.dir, "memory-")
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// home is one row's own state directory, with a daemon in it once a command has run.
type home struct {
	host *host
	dirs dirs.Dirs
	env  []string
}

// newHome makes a state directory and starts its daemon, which builds the image and the kernel where they are missing.
func (h *host) newHome(ctx context.Context) (*home, error) {
	m, err := h.emptyHome(filepath.Join(h.shared, "data"), filepath.Join(h.shared, "cache"))
	if err != nil {
		return nil, err
	}
	if _, err = m.banger(ctx, "vm", "run", "--quiet", "--", "true"); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// imageHome makes a home whose images lie in dir, shared with no other, and starts its daemon.
func (h *host) imageHome(ctx context.Context, dir string) (*home, error) {
	m, err := h.emptyHome(dir, dir)
	if err != nil {
		return nil, err
	}
	if _, err := m.banger(ctx, "image", "list"); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// emptyHome makes a state directory. data and cache are where its images are and what can be made again.
func (h *host) emptyHome(data, cache string) (*home, error) {
	state, err := os.MkdirTemp(h.dir, "state-")
	if err != nil {
		return nil, err
	}
	vars := map[string]string{
		"XDG_STATE_HOME": state, "XDG_CONFIG_HOME": state,
		"XDG_DATA_HOME": data, "XDG_CACHE_HOME": cache,
		"HOME": h.dir, "PATH": os.Getenv("PATH") + ":/usr/sbin:/sbin",
	}
	m := &home{host: h}
	for name, value := range vars {
		m.env = append(m.env, name+"="+value)
	}
	m.dirs, err = dirs.Find(func(name string) string { return vars[name] })
	return m, err
}

// configure gives the home's daemon a config.toml, and starts it.
func (m *home) configure(ctx context.Context, text string) error {
	path := m.dirs.ConfigFile()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		return err
	}
	_, err := m.banger(ctx, "daemon", "restart")
	return err
}

// command is one banger, not yet started.
func (m *home) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(m.host.dir, "banger"), args...)
	cmd.Env = m.env
	return cmd
}

// banger runs a command and returns its standard output.
func (m *home) banger(ctx context.Context, args ...string) (string, error) {
	var stderr strings.Builder
	cmd := m.command(ctx, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("banger %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// timed runs a command and returns how long it took from its start to its end.
func (m *home) timed(ctx context.Context, args ...string) (time.Duration, error) {
	begun := time.Now()
	_, err := m.banger(ctx, args...)
	return time.Since(begun), err
}

// startVM leaves a VM of that name running.
func (m *home) startVM(ctx context.Context, name string, flags ...string) error {
	_, err := m.banger(ctx, append([]string{"vm", "run", "--quiet", "-d", "--name", name}, flags...)...)
	return err
}

// vm is a VM as the bench sees it.
type vm struct {
	ID   model.VMID `json:"id"`
	Name string     `json:"name"`
	dir  string
}

func (m *home) find(ctx context.Context, name string) (vm, error) {
	out, err := m.banger(ctx, "vm", "show", "--format", "json", name)
	if err != nil {
		return vm{}, err
	}
	var v vm
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		return v, err
	}
	v.dir = m.dirs.VM(v.ID)
	return v, nil
}

// close removes the VMs that run and ends the daemon; the directory goes with the host.
func (m *home) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	names, err := m.banger(ctx, "vm", "ps", "--quiet")
	if err == nil && names != "" {
		_, err = m.banger(ctx, append([]string{"vm", "delete"}, strings.Fields(names)...)...)
	}
	_, stopped := m.banger(ctx, "daemon", "stop")
	if err := errors.Join(err, stopped); err != nil {
		fmt.Fprintln(os.Stderr, "bench: cannot clean up:", err)
	}
}
