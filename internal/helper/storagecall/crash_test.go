//go:build crash

package storagecall_test

import (
	"errors"
	"testing"

	"banger/internal/crash"
	"banger/internal/helper/serve/servetest"
	"banger/internal/helper/storagecall"
	"banger/internal/model"
	"banger/internal/testenv"
)

// TestKilledAroundACall kills the helper before and after a verb: the caller hears that it is gone, and the next helper
// takes everything from where it is. The points within the verbs are tried where they are.
func TestKilledAroundACall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		point string
		there int // snapshots afterwards
	}{{"helper.call.before#1", 0}, {"helper.call.after#1", 1}, {"helper.call.before#2", 1}, {"helper.call.after#2", 0}} {
		t.Run(c.point, func(t *testing.T) {
			t.Parallel()
			l, path := servetest.Listen(t)
			t.Cleanup(func() { _ = l.Close() })
			dir, id := t.TempDir(), model.NewVMID()
			helper := apart(t, l, dir, crash.Env+"="+c.point)
			verbs := storagecall.New(path, instance)
			base, cow := pair(t)
			_, err := verbs.Attach(t.Context(), id, base, cow)
			if err == nil {
				err = verbs.Detach(t.Context(), id)
			}
			if !errors.Is(err, model.ErrUnavailable) {
				t.Fatalf("got %v, want ErrUnavailable", err)
			}
			_ = helper.Wait()
			if !testenv.Killed(helper) {
				t.Fatalf("it was not killed there: %v", helper.ProcessState)
			}
			next := apart(t, l, dir)
			t.Cleanup(func() {
				_ = next.Process.Kill()
				_ = next.Wait()
			})
			if all, err := verbs.List(t.Context()); err != nil || len(all) != c.there {
				t.Errorf("there are %+v, %v, not %d", all, err, c.there)
			}
			if _, err := verbs.Attach(t.Context(), id, base, cow); err != nil {
				t.Error(err)
			}
			if err := verbs.Detach(t.Context(), id); err != nil {
				t.Error(err)
			}
			if all, err := verbs.List(t.Context()); err != nil || len(all) != 0 {
				t.Errorf("left: %+v, %v", all, err)
			}
		})
	}
}
