package dirs

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"banger/internal/atomicfile"
	"banger/internal/model"
)

// Instance returns the installation's id, made on the first call. The caller holds the daemon's lock.
func (d Dirs) Instance() (model.InstanceID, error) {
	id, err := d.FindInstance()
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	id = model.NewInstanceID()
	if err := atomicfile.Write(d.InstanceFile(), []byte(id+"\n"), 0o600); err != nil {
		return "", model.HostErrorf(err, "cannot write the installation's id")
	}
	return id, nil
}

// FindInstance returns the installation's id, or fs.ErrNotExist before the first daemon has made it.
func (d Dirs) FindInstance() (model.InstanceID, error) {
	path := d.InstanceFile()
	data, err := os.ReadFile(path)
	if err != nil {
		return "", model.HostErrorf(err, "cannot read the installation's id")
	}
	id := model.InstanceID(strings.TrimSuffix(string(data), "\n"))
	if !id.Valid() {
		return "", model.Errorf(model.ErrCorrupt, "cannot tell which installation this is: %s does not hold an id; remove the file when nothing of banger runs", path)
	}
	return id, nil
}
