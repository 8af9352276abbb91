package ext4

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestHolesWriteWhatAFileWould holds it against a buffer, over writes at random places with many zeros in them.
func TestHolesWriteWhatAFileWould(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		file, err := os.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		h, want := newHoles(file), []byte{}
		for range 30 {
			part := make([]byte, random.IntN(3*holeSize))
			if random.IntN(2) == 0 && len(part) > 0 {
				part[random.IntN(len(part))] = 1
			}
			at := int64(random.IntN(len(want) + 5000))
			if _, err := h.Seek(at, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if n, err := h.Write(part); err != nil || n != len(part) {
				t.Fatal(n, err)
			}
			if grown := int(at) + len(part); grown > len(want) && len(part) > 0 {
				want = append(want, make([]byte, grown-len(want))...)
			}
			copy(want[min(int(at), len(want)):], part)
		}
		if _, err := h.finish(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file.Name())
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, want %d: %v", len(got), len(want), err)
		}
	}
}

func TestHolesTakeNoSpace(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	h := newHoles(file)
	for range 64 {
		if _, err := h.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.finish(); err != nil {
		t.Fatal(err)
	}
	info, err := file.Stat()
	if err != nil || info.Size() != 64<<20 || info.Sys().(*syscall.Stat_t).Blocks > 128 {
		t.Errorf("%d bytes, %d blocks, %v", info.Size(), info.Sys().(*syscall.Stat_t).Blocks, err)
	}
}
