package image

import (
	"encoding/json"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// compared is what the kernel said of a blob's files, by their names, when their content was known to be what their
// digests say. As long as it says the same, nobody has written to them (a write moves ctime, which no program can set), and
// they need not be read again.
type compared map[string]fileState

type fileState struct {
	Device, Inode uint64
	Bytes         int64
	Changed       int64 // ctime, nanoseconds
}

func (s *Service) comparedFile(kind string, d model.Digest) string {
	return filepath.Join(s.comparedDir(), kind+"-"+d.Hex())
}

func (s *Service) comparedDir() string { return filepath.Join(s.dirs.Cache, "verified") }

// lookAt asks the kernel about a blob's files.
func (s *Service) lookAt(kind string, d model.Digest) (compared, error) {
	now := compared{}
	for _, name := range blobFiles(kind) {
		var st unix.Stat_t
		path := filepath.Join(s.blobDir(kind, d), name)
		if err := unix.Lstat(path, &st); err != nil {
			return nil, &os.PathError{Op: "lstat", Path: path, Err: err}
		}
		now[name] = fileState{Device: st.Dev, Inode: st.Ino, Bytes: st.Size, Changed: st.Ctim.Nano()}
	}
	return now, nil
}

// untouched says whether a blob's files are as they were when they were compared.
func (s *Service) untouched(kind string, d model.Digest, now compared) bool {
	raw, err := os.ReadFile(s.comparedFile(kind, d))
	var then compared
	if err != nil || json.Unmarshal(raw, &then) != nil || len(then) != len(now) {
		return false
	}
	for name, state := range now {
		if then[name] != state {
			return false
		}
	}
	return true
}

// remember records that a blob's content is right, as its files are now. That it cannot, or that half of it is written,
// costs the next start the time to read them, and nothing else.
func (s *Service) remember(kind string, d model.Digest, now compared) {
	raw, err := json.Marshal(now)
	if err == nil {
		err = os.MkdirAll(s.comparedDir(), 0o700)
	}
	if err == nil {
		err = os.WriteFile(s.comparedFile(kind, d), raw, 0o600)
	}
	if err != nil {
		s.log.Warn("cannot remember that an image or kernel was verified", "digest", d, "error", err)
	}
}
