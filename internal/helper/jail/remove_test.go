package jail

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"banger/internal/model"
)

// TestTheLastJailTakesTheDirectoriesAlong that it made: those of an ordinary user's are in the helper's, which stays.
func TestTheLastJailTakesTheDirectoriesAlong(t *testing.T) {
	t.Parallel()
	for uid, there := range map[int]bool{0: false, 12345: true} {
		run := filepath.Join(t.TempDir(), "run")
		h := New(Options{Instance: model.NewInstanceID(), UID: uid, Dir: filepath.Join(run, "jail")})
		if err := errors.Join(os.MkdirAll(h.o.Dir, 0o700), os.MkdirAll(h.Stock(), 0o700)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := h.removeDir(model.NewVMID()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(run); (err == nil) != there {
			t.Errorf("of uid %d: %v", uid, err)
		}
		if left, err := filepath.Glob(filepath.Join(run, "*")); err != nil || len(left) != 0 {
			t.Errorf("of uid %d: %v, %v", uid, left, err)
		}
	}
}
