package hostnet

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where the kernel keeps what it is told about networks: of the namespace of whoever opens a file below it.
const (
	sysctls   = "/proc/sys/net"
	forwardIn = "ipv4/ip_forward"

	// lockIn stands for its namespace's networks where they are locked: nobody but root can open it, so nobody else can
	// keep the lock from us. Nothing of it is read.
	lockIn = "ipv4/tcp_fastopen_key"
)

// setSysctl writes one. A kernel without IPv6 has none of those.
func setSysctl(name, value string) error {
	f, err := os.OpenFile(filepath.Join(sysctls, name), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(name, "ipv6/") {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func getSysctl(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(sysctls, name))
	return strings.TrimSpace(string(data)), err
}

// quiet switches off, for one device, what neither guests nor we want there.
func quiet(device string) error {
	return errors.Join(
		setSysctl("ipv6/conf/"+device+"/disable_ipv6", "1"),
		setSysctl("ipv6/conf/"+device+"/accept_ra", "0"),
	)
}

// lockForwarding keeps other installations from looking at what all share, forwarding and the VMs' range, until the file is
// closed.
func lockForwarding() (*os.File, error) {
	f, err := os.Open(filepath.Join(sysctls, lockIn))
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, &fs.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
	}
}
