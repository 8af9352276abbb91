// Package hosttool finds the programs of the host that banger runs.
package hosttool

import (
	"os"
	"os/exec"
	"path/filepath"

	"banger/internal/model"
)

// Find returns the absolute path of a program in PATH or in the system directories that an ordinary user's PATH leaves
// out on Debian. When there is none, the error is ErrUnsupported and names pkg, the package to install.
func Find(name, pkg string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", model.Fixable(model.ErrUnsupported, "sudo apt-get install "+pkg, "cannot find the program %s", name)
}
