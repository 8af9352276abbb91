package kvm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/procs"
)

// TestVerdict runs the real probe where there is a device: it must come back with a verdict, whatever the host is.
func TestVerdict(t *testing.T) {
	t.Parallel()
	if reason, fix := open(); reason != "" {
		if strings.ContainsAny(reason, "\n") || !strings.Contains(reason, device) {
			t.Errorf("the reason is not one line about the device: %q", reason)
		}
		if v := New(Options{}).Verdict(); v.Problem != reason || v.Reason() != reason || v.Fix != fix {
			t.Errorf("the verdict is %+v", v)
		}
		t.Skipf("not run: needs KVM: %s", reason)
	}
	if reason := try().Reason(); strings.ContainsAny(reason, "\n") || reason != "" && !strings.Contains(reason, device) {
		t.Errorf("the reason is not one line about the device: %q", reason)
	}
}

func TestKept(t *testing.T) {
	t.Parallel()
	boot, err := procs.BootID()
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(t.TempDir(), "new", "cache")
	p := New(Options{Cache: cache})
	want := kept{Boot: boot, Verdict: Verdict{Slow: "a reason"}}
	p.save(want)
	if got := New(Options{Cache: cache}).load(); got != want {
		t.Errorf("%+v was kept", got)
	}
	for _, rubbish := range []string{"", "null", "{", `{"boot":7}`} {
		if err := os.WriteFile(p.file(), []byte(rubbish), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := p.load(); got != (kept{}) {
			t.Errorf("%q is read as %+v", rubbish, got)
		}
	}
}
