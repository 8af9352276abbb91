package dirs

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"banger/internal/model"
)

// Secure makes the state, data and cache directories with mode 0700 where they are missing, and checks who can touch
// them: the state directory is ours alone, and nobody else may write to the others, which can be links to a larger disk.
// It changes nothing that exists: its errors, of kind ErrDenied, name the command that does.
func (d Dirs) Secure() error {
	for _, dir := range []string{d.State, d.Data, d.Cache} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return model.HostErrorf(err, "cannot make banger's directory: check who owns %s", filepath.Dir(dir))
		}
	}
	if err := d.CheckState(); err != nil {
		return err
	}
	for _, dir := range []string{d.Data, d.Cache} {
		if err := CheckShared(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(d.VMs(), 0o700); err != nil {
		return model.HostErrorf(err, "cannot make the directory of the VMs")
	}
	return nil
}

// CheckState checks, without following a link, that the state directory is a directory, ours and closed to everybody
// else. A client asks this before it trusts the socket in there. That there is none is fs.ErrNotExist.
func (d Dirs) CheckState() error {
	info, err := os.Lstat(d.State)
	if err != nil {
		return model.HostErrorf(err, "cannot look at the state directory")
	}
	if info.Mode()&os.ModeSymlink != 0 {
		return model.Errorf(model.ErrDenied, "cannot use %s: it is a symbolic link; remove it, and set XDG_STATE_HOME to keep state elsewhere", d.State)
	}
	return check(d.State, info, 0o077)
}

// CheckShared checks that the data or cache directory dir is a directory, perhaps by a link, ours, and that nobody else may
// write to it. That there is none is fs.ErrNotExist.
func CheckShared(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return model.HostErrorf(err, "cannot look at banger's directory")
	}
	return check(dir, info, 0o022)
}

// check refuses what is no directory, not ours, or open to others by one of the forbidden mode bits.
func check(dir string, info os.FileInfo, forbidden os.FileMode) error {
	if !info.IsDir() {
		return model.Errorf(model.ErrDenied, "cannot use %s: it is not a directory; move it away", dir)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return model.Fixable(model.ErrDenied, fmt.Sprintf("sudo chown -R %d %s", os.Geteuid(), model.ShellWord(dir)), "cannot use %s: it belongs to uid %d, not to you", dir, owner)
	}
	if info.Mode().Perm()&forbidden != 0 {
		return model.Fixable(model.ErrDenied, "chmod 700 "+model.ShellWord(dir), "cannot use %s: its mode %#o lets other users in", dir, info.Mode().Perm())
	}
	return nil
}
