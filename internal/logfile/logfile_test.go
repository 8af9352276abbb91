package logfile_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"banger/internal/logfile"
)

func open(t *testing.T, limit int64) (*logfile.File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	l, err := logfile.Open(path, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, path
}

func TestTheNewestHalfIsKeptAndTheCapHolds(t *testing.T) {
	t.Parallel()
	l, path := open(t, 1000)
	var all strings.Builder
	for i := range 300 {
		line := fmt.Sprintf("line %d\n", i)
		all.WriteString(line)
		if _, err := l.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	var got bytes.Buffer
	if err := logfile.Copy(&got, path, 0); err != nil {
		t.Fatal(err)
	}
	if got.Len() < 500 || got.Len() > 1000 {
		t.Errorf("%d bytes are kept, want between half the cap and the cap", got.Len())
	}
	if !strings.HasSuffix(all.String(), got.String()) {
		t.Errorf("what is kept is not the end of what was written: %q", got.String())
	}
	var tail bytes.Buffer
	if err := logfile.Copy(&tail, path, 20); err != nil {
		t.Fatal(err)
	}
	if want := all.String()[all.Len()-20:]; tail.String() != want {
		t.Errorf("tail is %q, want %q", tail.String(), want)
	}
}

func TestAWriteLargerThanTheCapKeepsItsEnd(t *testing.T) {
	t.Parallel()
	l, path := open(t, 100)
	text := strings.Repeat("0123456789", 100)
	if n, err := l.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
	var got bytes.Buffer
	if err := logfile.Copy(&got, path, 0); err != nil {
		t.Fatal(err)
	}
	if got.Len() > 100 || !strings.HasSuffix(text, got.String()) {
		t.Errorf("kept %d bytes: %q", got.Len(), got.String())
	}
}

func TestFollowSeesWhatWasAndWhatComesUntilClose(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, err := logfile.Open(filepath.Join(dir, "log"), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(l, "before ")
		var got bytes.Buffer
		done := make(chan error)
		go func() { done <- l.Follow(context.Background(), &got, 0) }()
		synctest.Wait()
		fmt.Fprint(l, "after")
		synctest.Wait()
		l.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got.String() != "before after" {
			t.Errorf("followed %q", got.String())
		}
	})
}

func TestFollowCrossesARotation(t *testing.T) {
	t.Parallel()
	l, _ := open(t, 64)
	var want strings.Builder
	for i := range 6 {
		line := fmt.Sprintf("entry %02d.", i)
		want.WriteString(line)
		fmt.Fprint(l, line)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var got bytes.Buffer
	if err := l.Follow(ctx, &got, 0); err != nil {
		t.Fatal(err)
	}
	if got.Len() <= 32 || !strings.HasSuffix(want.String(), got.String()) {
		t.Errorf("followed %q of %q", got.String(), want.String())
	}
}

func TestCopyOfNothingIsEmptyAndRemoveTwiceIsFine(t *testing.T) {
	t.Parallel()
	l, path := open(t, 100)
	fmt.Fprint(l, "x")
	l.Close()
	for range 2 {
		if err := logfile.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	var got bytes.Buffer
	if err := logfile.Copy(&got, path, 0); err != nil || got.Len() != 0 {
		t.Errorf("Copy = %q, %v", got.String(), err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}
