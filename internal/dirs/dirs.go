// Package dirs says where banger's files are.
//
// They follow the XDG base directory specification, except for the sockets: a session manager may empty XDG_RUNTIME_DIR
// at logout while VMs run, so sockets and locks lie in the state directory.
package dirs

import (
	"os"
	"path/filepath"

	"banger/internal/model"
)

// Dirs are banger's four directories, all absolute.
type Dirs struct {
	State  string // VMs, database, sockets, logs
	Data   string // images and kernels
	Cache  string // what can be made again
	Config string // config.toml
}

// Find returns the directories that the environment names. It touches no file.
func Find(getenv func(string) string) (Dirs, error) {
	var d Dirs
	for _, dir := range []struct {
		path     *string
		variable string
		fallback string // below the home directory
	}{
		{&d.State, "XDG_STATE_HOME", ".local/state"},
		{&d.Data, "XDG_DATA_HOME", ".local/share"},
		{&d.Cache, "XDG_CACHE_HOME", ".cache"},
		{&d.Config, "XDG_CONFIG_HOME", ".config"},
	} {
		base, err := base(getenv, dir.variable, dir.fallback)
		if err != nil {
			return Dirs{}, err
		}
		*dir.path = filepath.Join(base, "banger")
	}
	return d, nil
}

// Default returns the directories that this process's environment names.
func Default() (Dirs, error) { return Find(os.Getenv) }

func base(getenv func(string) string, variable, fallback string) (string, error) {
	if dir := getenv(variable); dir != "" {
		if !filepath.IsAbs(dir) {
			return "", model.Errorf(model.ErrInvalid, "cannot use %s=%s: it must be an absolute path", variable, dir)
		}
		return dir, nil
	}
	home := getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", model.Errorf(model.ErrInvalid, "cannot tell where banger's files are: HOME is not an absolute path; set HOME or %s", variable)
	}
	return filepath.Join(home, fallback), nil
}

// Socket is where the daemon listens.
func (d Dirs) Socket() string { return filepath.Join(d.State, "bangerd.sock") }

// Lock is the file whose flock decides which daemon lives.
func (d Dirs) Lock() string { return filepath.Join(d.State, "bangerd.lock") }

// Log is the daemon's log.
func (d Dirs) Log() string { return filepath.Join(d.State, "bangerd.log") }

// NetdSocket is where banger-netd, which carries the VMs' packets, listens.
func (d Dirs) NetdSocket() string { return filepath.Join(d.State, "netd.sock") }

// NetdTaps is where banger-netd is handed the packet sockets of taps.
func (d Dirs) NetdTaps() string { return filepath.Join(d.State, "netd.taps") }

// NetdLock is the file whose flock decides which banger-netd lives.
func (d Dirs) NetdLock() string { return filepath.Join(d.State, "netd.lock") }

// NetdLog is the log of banger-netd.
func (d Dirs) NetdLog() string { return filepath.Join(d.State, "netd.log") }

// Database is the SQLite database; SQLite keeps its journal beside it.
func (d Dirs) Database() string { return filepath.Join(d.State, "banger.db") }

// InstanceFile holds the installation's id.
func (d Dirs) InstanceFile() string { return filepath.Join(d.State, "instance") }

// VMs holds one directory per VM.
func (d Dirs) VMs() string { return filepath.Join(d.State, "vms") }

// VM is the directory of everything that one VM has on disk.
func (d Dirs) VM(id model.VMID) string { return filepath.Join(d.VMs(), string(id)) }

// Scratch holds what lives for a moment of a copied project. It is not in the cache, which two installations may share:
// a daemon sweeps it.
func (d Dirs) Scratch() string { return filepath.Join(d.State, "scratch") }

// Images holds one directory per image.
func (d Dirs) Images() string { return filepath.Join(d.Data, "images") }

// Kernels holds one directory per kernel.
func (d Dirs) Kernels() string { return filepath.Join(d.Data, "kernels") }

// ConfigFile is the user's configuration.
func (d Dirs) ConfigFile() string { return filepath.Join(d.Config, "config.toml") }
