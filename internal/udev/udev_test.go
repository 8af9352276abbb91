package udev

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"banger/internal/helper/storage"
)

// host is one on which udev is told by calls, in a directory.
func host(t *testing.T) (r *Rules, told *int) {
	t.Helper()
	told = new(int)
	return &Rules{
		file:   filepath.Join(t.TempDir(), "rules.d", "09-banger-aaaaaaaa.rules"),
		idle:   func() (bool, error) { return true, nil },
		reload: func(context.Context) error { *told++; return nil },
	}, told
}

func TestTheRulesAreThereBeforeTheFirstDeviceAndUntilTheLast(t *testing.T) {
	t.Parallel()
	r, told := host(t)
	if err := r.write(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(r.file); err != nil || string(text) != string(storage.UdevRules) || *told != 1 {
		t.Errorf("udev was told %d times: %q, %v", *told, text, err)
	}
	r.idle = func() (bool, error) { return false, nil }
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.file); err != nil {
		t.Errorf("they are gone before the devices: %v", err)
	}
	r.idle = func() (bool, error) { return true, nil }
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(r.file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("they stay: %v", err)
		}
	}
}

func TestUdevIsToldUntilItAnswers(t *testing.T) {
	t.Parallel()
	r, told := host(t)
	answers, wrong := r.reload, errors.New("it does not answer")
	r.reload = func(context.Context) error { return wrong }
	if err := r.write(); !errors.Is(err, wrong) || r.told {
		t.Errorf("got %v, told %t", err, r.told)
	}
	r.reload = answers
	if err := r.write(); err != nil || !r.told || *told != 1 {
		t.Errorf("got %v, told %d times", err, *told)
	}
}

func TestAnOrdinaryUserHasNone(t *testing.T) {
	t.Parallel()
	if err := new(Rules).Close(); err != nil {
		t.Error(err)
	}
}
