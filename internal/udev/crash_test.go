//go:build crash

package udev

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"banger/internal/crash/crashtest"
	"banger/internal/testenv"
)

// fileVariable names the file of rules that the test program, run again as what is killed, writes and removes.
const fileVariable = "BANGER_TEST_RULES"

func TestMain(m *testing.M) {
	if file := os.Getenv(fileVariable); file != "" {
		r := &Rules{file: file, idle: func() (bool, error) { return true, nil }, reload: func(context.Context) error { return nil }}
		if err := errors.Join(r.write(), r.Close()); err != nil {
			os.Stderr.WriteString(err.Error())
		}
		os.Exit(1) // it was to be killed
	}
	os.Exit(m.Run())
}

// TestKilledAtAnyPoint requires of the next daemon that it tells udev, whatever is there, and leaves nothing.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	for _, point := range crashtest.Points(t, "udev.") {
		r, told := host(t)
		cmd := crashtest.Again(point, fileVariable+"="+r.file)
		out, err := cmd.CombinedOutput()
		if !testenv.Killed(cmd) {
			t.Fatalf("%s: it was not killed there: %v, %s", point, err, out)
		}
		if err := r.write(); err != nil || *told != 1 {
			t.Errorf("%s: udev was told %d times: %v", point, *told, err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: %v", point, err)
		}
		if left, err := os.ReadDir(filepath.Dir(r.file)); err != nil || len(left) > 0 {
			t.Errorf("%s: %v, %v are left", point, err, left)
		}
	}
}
