package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"banger/internal/image/tarfilter"
	"banger/internal/model"
)

// System says what a Debian system is made of that is no image for banger's VMs but made in the same way, such as the
// one that the lab of the tests boots.
type System struct {
	Packages []string         // beyond Debian's essential packages and apt
	Files    []tarfilter.File // in place of those that the packages bring, or beside them
	Bytes    int64            // the size of its disk, which is sparse
	Modules  []string         // what its kernel needs to see that disk
}

// The files that BuildSystem makes.
const (
	SystemRoot    = rootFile    // a writable ext4 file system
	SystemVmlinux = vmlinuxFile // the kernel
	SystemModules = modulesFile // its modules as a read-only ext4 file system, for /lib/modules
	SystemEarly   = earlyFile   // an initramfs without an /init: the modules that it is to load, and in SystemList their paths
	SystemList    = modulesList // in that initramfs, one path a line in the order of loading
)

// BuildSystem makes a system's files in the empty directory dir.
func BuildSystem(ctx context.Context, dir string, s System, report model.Report) (err error) {
	work := scratch{}
	if work.dir, err = os.MkdirTemp(dir, tempPrefix); err != nil {
		return err
	}
	if work.lock, err = os.Create(filepath.Join(work.dir, "lock")); err != nil {
		return errors.Join(err, os.RemoveAll(work.dir))
	}
	defer func() { err = errors.Join(err, work.close()) }()
	r := debian{HostTools()}
	if _, err := r.makeKernel(ctx, dir, s.Modules, work, report); err != nil {
		return err
	}
	_, err = r.bootstrapDisk(ctx, filepath.Join(dir, SystemRoot), s, work, report)
	return err
}
