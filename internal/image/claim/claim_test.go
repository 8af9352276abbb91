package claim

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"banger/internal/model"
)

func TestOneAtATimeAndNothingLeft(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "claim")
	if err := os.WriteFile(path, []byte("left by a killed process"), 0o600); err != nil {
		t.Fatal(err)
	}
	var holders, most atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 20 {
				c, err := Take(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), holders.Add(1)))
				if info, err := c.Stat(); err != nil || info.Size() != 0 {
					t.Errorf("it is not empty: %v, %v", info.Size(), err)
				}
				if _, err := c.Write([]byte("mine")); err != nil {
					t.Error(err)
				}
				holders.Add(-1)
				if err := errors.Join(c.Drop(), c.Drop()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d held it at once", most.Load())
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
}

func TestBecome(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := Take(t.Context(), filepath.Join(dir, "x.part"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("whole")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Become(filepath.Join(dir, "x")), c.Drop()); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "x")); string(data) != "whole" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left %v", entries)
	}
}

func TestTheWaitCanBeGivenUp(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "claim")
	held, err := Take(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Take(ctx, path); !errors.Is(err, model.ErrCanceled) {
		t.Errorf("got %v", err)
	}
	if err := held.Drop(); err != nil {
		t.Fatal(err)
	}
	again, err := Take(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Drop(); err != nil {
		t.Error(err)
	}
}

// TestAWaitThatWasGivenUpLeavesNothing is of one that is given up in the moment in which the claim comes.
func TestAWaitThatWasGivenUpLeavesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "claim")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		c, err := Take(ctx, path)
		if err == nil {
			err = c.Drop()
		}
		if err != nil && !errors.Is(err, model.ErrCanceled) {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the claim of somebody who has given up is left")
		}
	}
}
