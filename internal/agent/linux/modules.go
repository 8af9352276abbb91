package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Modules that only some guests need; the others do without the time that loading them takes.
var (
	networkModules = []string{"failover.ko", "net_failover.ko", "virtio_net.ko"}
	portModules    = []string{"virtio_console.ko"}
	overlayModules = []string{"overlay.ko"}
	// vsockModules are the socket family and, after it, the driver of its device.
	vsockModules = []string{"vsock.ko", "vmw_vsock_virtio_transport_common.ko", "vmw_vsock_virtio_transport.ko"}
)

// earlyModules are the paths of the modules in the initramfs, in the order of loading.
func earlyModules() ([]string, error) {
	list, err := os.ReadFile("/modules")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // all that is needed is built into this kernel
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the list of modules: %w", err)
	}
	var paths []string
	for line := range strings.Lines(string(list)) {
		if line = strings.TrimSpace(line); line != "" {
			paths = append(paths, "/"+strings.TrimPrefix(line, "/"))
		}
	}
	return paths, nil
}

// loadModules loads the early modules but for those of overlayfs and vsock, whose users load them, and of a channel that this
// machine does not have. Those of the network come last, beside whatever follows (the agent mounts the root meanwhile), and
// only where there is an interface; wait returns once they are loaded, too.
func loadModules() (wait func(), err error) {
	paths, err := earlyModules()
	if err != nil {
		return nil, err
	}
	others := slices.Concat(overlayModules, vsockModules)
	if told(channelParameter) {
		others = append(others, portModules...)
	}
	var late []*os.File
	for _, path := range paths {
		name := filepath.Base(path)
		if slices.Contains(others, name) {
			continue
		}
		// The files are opened now: by the time of the late ones this root may be gone.
		file, err := os.Open(path)
		if err == nil && slices.Contains(networkModules, name) {
			late = append(late, file)
			continue
		}
		if err == nil {
			err = loadModule(file)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot load the kernel module %s: %w", path, err)
		}
	}
	if !hasInterface() {
		for _, file := range late {
			file.Close()
		}
		return func() {}, nil
	}
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		for _, file := range late {
			name := file.Name()
			if err := loadModule(file); err != nil {
				fmt.Fprintf(os.Stderr, "banger-agent: cannot load the kernel module %s: %v\n", name, err)
			}
		}
	}()
	return func() { <-loaded }, nil
}

// loadOverlay loads overlayfs, unless it is built into this kernel. All that it needs is there.
func loadOverlay() error {
	files, err := openEarly(overlayModules)
	if err != nil {
		return err
	}
	return loadAll(files)
}

func loadAll(files []*os.File) error {
	for _, file := range files {
		if err := loadModule(file); err != nil {
			return fmt.Errorf("cannot load the kernel module %s: %w", file.Name(), err)
		}
	}
	return nil
}

// openEarly opens those of the early modules that the initramfs has.
func openEarly(names []string) (files []*os.File, err error) {
	paths, err := earlyModules()
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if !slices.Contains(names, filepath.Base(path)) {
			continue
		}
		file, err := os.Open(path)
		if err != nil {
			return files, fmt.Errorf("cannot read a kernel module: %w", err)
		}
		files = append(files, file)
	}
	return files, nil
}

// hasInterface says whether a network interface is on the virtio bus, whose devices are all there once its driver is.
func hasInterface() bool {
	const network = "0x0001" // the virtio device's kind
	devices, err := filepath.Glob("/sys/bus/virtio/devices/*/device")
	if err != nil {
		return false
	}
	for _, d := range devices {
		if kind, err := os.ReadFile(d); err == nil && strings.TrimSpace(string(kind)) == network {
			return true
		}
	}
	return false
}

// loadModule loads and closes a module. One that is there already is fine.
func loadModule(file *os.File) error {
	defer file.Close()
	err := unix.FinitModule(int(file.Fd()), "", 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}
