package linux

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxBundle caps what is read of the root's bundle of authorities; real ones have some 200 KB.
const maxBundle = 8 << 20

// trust makes the root's programs believe more certificate authorities. They go where the distribution keeps local ones,
// so that its own tools keep them when they make its bundle again, and into that bundle, so that none has to be run. A
// root without any bundle gets one of these alone.
func trust(pem []byte) {
	if len(pem) == 0 {
		return
	}
	root, err := os.OpenRoot("/")
	if err == nil {
		defer root.Close()
		err = trustIn(root, pem)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "banger-agent: cannot add the host's certificate authorities:", err)
	}
}

// trustIn works through an os.Root: the image's links are followed where they stay in it.
func trustIn(root *os.Root, pem []byte) error {
	var failed error
	for _, d := range []struct{ local, bundle string }{
		{"usr/local/share/ca-certificates/banger.crt", "etc/ssl/certs/ca-certificates.crt"},                // Debian, Alpine
		{"etc/pki/ca-trust/source/anchors/banger.pem", "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"}, // Fedora
	} {
		if _, err := root.Stat(d.bundle); err != nil && d.bundle != "etc/ssl/certs/ca-certificates.crt" {
			continue
		}
		failed = errors.Join(failed, put(root, d.local, pem), appendMissing(root, d.bundle, pem))
	}
	return failed
}

func put(root *os.Root, path string, text []byte) error {
	if err := mkdirAbove(root, path); err != nil {
		return err
	}
	return root.WriteFile(path, text, 0o644)
}

// appendMissing adds text to the file unless it is in there.
func appendMissing(root *os.Root, path string, text []byte) error {
	if err := mkdirAbove(root, path); err != nil {
		return err
	}
	file, err := root.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	there, err := io.ReadAll(io.LimitReader(file, maxBundle))
	if err == nil && !bytes.Contains(there, text) {
		if len(there) > 0 && there[len(there)-1] != '\n' {
			text = append([]byte{'\n'}, text...)
		}
		_, err = file.Write(text)
	}
	return errors.Join(err, file.Close())
}

func mkdirAbove(root *os.Root, path string) error {
	for i := range path {
		if path[i] != '/' {
			continue
		}
		if err := root.Mkdir(path[:i], 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
