package hostnet

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestNobodyElseHoldsTheLock has another user try to open what is locked, and two of root's hold it one after the other.
func TestNobodyElseHoldsTheLock(t *testing.T) {
	t.Parallel()
	needUsers(t)
	h := newHost(t)
	h.do(func() {
		first, err := lockForwarding()
		if err != nil {
			t.Error(err)
			return
		}
		if err := exec.Command("flock", "--nonblock", filepath.Join(sysctls, lockIn), "true").Run(); err == nil {
			t.Error("two hold the lock at once")
		}
		first.Close()
		for uid, want := range map[uint32]bool{0: true, 65534: false} {
			cmd := exec.Command("flock", "--nonblock", filepath.Join(sysctls, lockIn), "true")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
			if out, err := cmd.CombinedOutput(); (err == nil) != want {
				t.Errorf("user %d: %v, %s, want %t", uid, err, out, want)
			}
		}
	})
}
