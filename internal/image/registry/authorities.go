package registry

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// maxAuthority caps a file of certificates.
const maxAuthority = 1 << 20

// CertDirs are where docker and podman look for the authorities that sign the certificates of single registries: files
// *.crt in a directory with the registry's name, HOST or HOST:PORT.
func CertDirs() []string {
	dirs := []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}
	if own, err := os.UserConfigDir(); err == nil {
		dirs = append([]string{filepath.Join(own, "containers", "certs.d")}, dirs...)
	}
	return dirs
}

// authorities are those that may sign a registry's certificate: the host's and what is in the directories. nil are the
// host's alone.
func authorities(host string, dirs []string) (*x509.CertPool, error) {
	var pool *x509.CertPool
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(dir, host))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if filepath.Ext(e.Name()) != ".crt" {
				continue
			}
			path := filepath.Join(dir, host, e.Name())
			text, err := readAuthority(path)
			if err != nil {
				return nil, err
			}
			if pool == nil {
				if pool, err = x509.SystemCertPool(); err != nil {
					return nil, err
				}
			}
			if !pool.AppendCertsFromPEM(text) {
				return nil, fmt.Errorf("there is no certificate in %s", path)
			}
		}
	}
	return pool, nil
}

// readAuthority reads a file, which may be a link. Nothing waits for a FIFO's other end.
func readAuthority(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxAuthority+1))
	if err == nil && len(text) > maxAuthority {
		err = fmt.Errorf("%s has more than %s", path, model.FormatSize(maxAuthority))
	}
	return text, err
}
