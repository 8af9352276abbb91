package hosttool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "banger-test-tool"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	if path, err := Find("banger-test-tool", "x"); err != nil || path != filepath.Join(dir, "banger-test-tool") {
		t.Errorf("in PATH: %q, %v", path, err)
	}
	_, err := Find("banger-no-such-tool", "some-package")
	if !errors.Is(err, model.ErrUnsupported) || !strings.Contains(err.Error(), "apt-get install some-package") {
		t.Errorf("missing: got %v", err)
	}
	for _, sbin := range []string{"/usr/sbin/chroot", "/usr/sbin/mke2fs", "/usr/sbin/useradd"} {
		if _, err := os.Stat(sbin); err != nil {
			continue
		}
		if path, err := Find(filepath.Base(sbin), "x"); err != nil || filepath.Base(path) != filepath.Base(sbin) {
			t.Errorf("outside PATH: %q, %v", path, err)
		}
	}
}
