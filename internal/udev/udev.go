// Package udev has the host's udev pass over the devices of a daemon that root runs.
//
// An ordinary user's are made by the helper, with which the rules are installed.
package udev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/helper/storage"
	"banger/internal/hosttool"
	"banger/internal/model"
)

// dir is where rules lie that last until the host reboots.
const dir = "/run/udev/rules.d"

// reloadLimit is how long udev may take to answer.
const reloadLimit = time.Minute

// Rules are one installation's. They are written before its first device and stay while there may be one. The zero value
// is an ordinary user's, who needs none.
type Rules struct {
	file   string
	idle   func() (bool, error) // whether there are no devices
	reload func(context.Context) error
	mu     sync.Mutex
	told   bool // whether udev read the file since it was written
}

// New returns those of an installation of root's. It touches nothing.
func New(instance model.InstanceID) *Rules {
	return &Rules{
		file:   filepath.Join(dir, "09-banger-"+string(instance)+".rules"),
		idle:   storage.New(storage.Options{Instance: instance}).Idle,
		reload: Reload,
	}
}

// Ready returns once udev knows the rules, these or the helper's.
func (r *Rules) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if storage.UdevKnows(storage.UdevFile) == nil || r.told && storage.UdevKnows(r.file) == nil {
		return nil
	}
	return r.write()
}

// write tells udev of a file that is there already, too: who wrote it may have been killed before udev read it.
func (r *Rules) write() error {
	crash.At("udev.write.before")
	if err := errors.Join(os.MkdirAll(filepath.Dir(r.file), 0o755), atomicfile.Sweep(r.file)); err != nil {
		return err
	}
	if err := atomicfile.WriteHint(r.file, storage.UdevRules, 0o644); err != nil {
		return err
	}
	crash.At("udev.write.written")
	if err := r.reload(context.Background()); err != nil {
		return err
	}
	crash.At("udev.write.after")
	r.told = true
	return nil
}

// Close removes the rules, unless machines that run have devices still. udev forgets them when it next looks.
func (r *Rules) Close() error {
	if r.file == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := os.Lstat(r.file); errors.Is(err, fs.ErrNotExist) {
		return atomicfile.Sweep(r.file)
	}
	idle, err := r.idle()
	if err != nil || !idle {
		return err
	}
	crash.At("udev.remove.before")
	err = errors.Join(atomicfile.Sweep(r.file), atomicfile.Remove(r.file))
	crash.At("udev.remove.after")
	return err
}

// Reload returns once udev has read all rules again. By itself it does so three seconds after it last looked.
func Reload(ctx context.Context) error {
	path, err := hosttool.Find("udevadm", "udev")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reloadLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "control", "--reload").CombinedOutput()
	if err != nil {
		return fmt.Errorf("udevadm control --reload: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
