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
	path := d.InstanceFile()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		id := model.NewInstanceID()
		if err := atomicfile.Write(path, []byte(id+"\n"), 0o600); err != nil {
			return "", model.HostErrorf(err, "cannot write the installation's id")
		}
		return id, nil
	}
	if err != nil {
		return "", model.HostErrorf(err, "cannot read the installation's id")
	}
	id := model.InstanceID(strings.TrimSuffix(string(data), "\n"))
	if !id.Valid() {
		return "", model.Errorf(model.ErrCorrupt, "cannot tell which installation this is: %s does not hold an id; remove the file when nothing of banger runs", path)
	}
	return id, nil
}
