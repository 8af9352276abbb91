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

// networkModules are what a guest with a network interface needs, and no other.
var networkModules = [...]string{"failover.ko", "net_failover.ko", "virtio_net.ko"}

// overlayModule is what a root of two layers needs, and no other.
const overlayModule = "overlay.ko"

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

// loadModules loads the early modules but for overlayfs. Those of the network come last, beside whatever follows (the
// agent mounts the root meanwhile), and only where there is an interface; wait returns once they are loaded, too.
func loadModules() (wait func(), err error) {
	paths, err := earlyModules()
	if err != nil {
		return nil, err
	}
	var late []*os.File
	for _, name := range paths {
		if filepath.Base(name) == overlayModule {
			continue
		}
		// The files are opened now: by the time of the late ones this root may be gone.
		file, err := os.Open(name)
		if err == nil && slices.Contains(networkModules[:], filepath.Base(name)) {
			late = append(late, file)
			continue
		}
		if err == nil {
			err = loadModule(file)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot load the kernel module %s: %w", name, err)
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

// loadOverlay loads overlayfs, unless it is built into this kernel. All that it needs is there: it is the last of the list.
func loadOverlay() error {
	paths, err := earlyModules()
	if err != nil {
		return err
	}
	for _, name := range paths {
		if filepath.Base(name) != overlayModule {
			continue
		}
		file, err := os.Open(name)
		if err == nil {
			err = loadModule(file)
		}
		if err != nil {
			return fmt.Errorf("cannot load the kernel module %s: %w", name, err)
		}
	}
	return nil
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
