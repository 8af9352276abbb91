// Package companion finds the programs that were installed together with this one.
package companion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"banger/internal/model"
)

// Find returns the program of that name that lies beside this one, or in ../libexec/banger. ErrUnsupported when there is
// none.
func Find(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	here := filepath.Dir(self)
	for _, path := range []string{filepath.Join(here, name), filepath.Join(here, "..", "libexec", "banger", name)} {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return filepath.Clean(path), nil
		}
	}
	return "", model.Errorf(model.ErrUnsupported, "cannot find %s beside %s; install banger again", name, self)
}

const (
	versionLimit = 5 * time.Second // for a program to say its version, on a host whose every core is busy
	maxVersion   = 200             // bytes of it
)

// Version asks the program at path for its version, as all of banger's programs tell it.
func Version(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	out, err := Output(exec.CommandContext(ctx, path, "--version"), maxVersion)
	text := strings.TrimSpace(string(out))
	if err == nil && (text == "" || strings.Contains(text, "\n")) {
		err = errors.New("what it says is no version")
	}
	if err != nil {
		return "", model.Errorf(model.ErrUnsupported, "cannot ask %s for its version: %w; install banger again", path, err)
	}
	return text, nil
}

// Output runs a program and returns what it says, when that is at most most bytes.
func Output(cmd *exec.Cmd, most int64) ([]byte, error) {
	cmd.WaitDelay = time.Second // what it left running must not hold us up
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	said, err := io.ReadAll(io.LimitReader(out, most+1))
	_ = out.Close() // what it still says ends it, instead of blocking it
	if err == nil && int64(len(said)) > most {
		err = fmt.Errorf("it said more than %d bytes", most)
	}
	return said, errors.Join(err, cmd.Wait())
}
