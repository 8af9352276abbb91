package userns

import (
	"errors"
	"os/exec"
	"syscall"
	"testing"

	"banger/internal/model"
)

func TestTry(t *testing.T) {
	t.Parallel()
	works := exec.Command("unshare", "--user", "--map-root-user", "--mount", "--net", "true").Run() == nil
	if err := Try(); (err == nil) != works {
		t.Errorf("%v, and unshare works: %v", err, works)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for _, s := range settings() {
		if s.isClosed() {
			t.Skipf("not run: needs a host on which %s is not %s", s.name, s.closed)
		}
	}
	for _, root := range []bool{false, true} {
		if err := judge(nil, root); err != nil {
			t.Errorf("root %v: %v", root, err)
		}
		if err := judge(syscall.ENOSPC, root); !errors.Is(err, model.ErrUnsupported) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("root %v: %v", root, err)
		}
	}
	// The sysctls are read where they are: this one exists everywhere.
	if (setting{name: "kernel.ostype", closed: "Linux"}).isClosed() != true || (setting{name: "kernel.no_such"}).isClosed() {
		t.Error("a sysctl is not read as it is")
	}
}
