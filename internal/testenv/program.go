package testenv

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Program makes the Go program whose source is in a directory, at path, which everybody may run. It needs no libraries. Where
// tests run without Go, as in the lab, it is beside its source, by the directory's name.
func Program(t testing.TB, source, path string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(source, filepath.Base(source)))
	switch {
	case err == nil:
		err = os.WriteFile(path, text, 0o755)
	case errors.Is(err, fs.ErrNotExist):
		cmd := exec.Command("go", "build", "-o", path, "./"+source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		var out []byte
		if out, err = cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if err := errors.Join(err, os.Chmod(path, 0o755)); err != nil { // whatever the umask took
		t.Fatal(err)
	}
}
