package sparse

import (
	"hash/maphash"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

const followedSize = 5*segment + 3*chunk + 100

// write gives the chunk at that place data, zeros, or nothing.
func write(t *testing.T, random *rand.Rand, file *os.File, at int64) {
	t.Helper()
	part := make([]byte, min(chunk, followedSize-at))
	switch random.IntN(4) {
	case 0:
		return
	case 1:
	default:
		part[random.IntN(len(part))] = byte(1 + random.IntN(255))
	}
	if _, err := file.WriteAt(part, at); err != nil {
		t.Fatal(err)
	}
}

func newFile(t *testing.T) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func TestSumsKnowWhatHasChanged(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		random, file := rand.New(rand.NewPCG(seed, 1)), newFile(t)
		for at := int64(0); at < followedSize; at += chunk {
			if at/segment != 2 { // one is a hole
				write(t, random, file, at)
			}
		}
		if err := file.Truncate(followedSize); err != nil {
			t.Fatal(err)
		}
		s := &Sums{seed: maphash.MakeSeed()}
		for at := int64(0); at+segment <= followedSize; at += segment {
			s.segments = append(s.segments, s.read(file, at))
		}
		for range random.IntN(4) {
			at := random.Int64N(followedSize/chunk) * chunk
			write(t, random, file, at)
			if random.IntN(3) == 0 {
				if err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, chunk); err != nil {
					t.Fatal(err)
				}
			}
		}
		want, err := SegmentDigest(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Seal(t.Context(), file, s); err != nil || got != want {
			t.Errorf("seed %d: %s, %v; want %s", seed, got, err, want)
		}
	}
}

func TestSumsAreTakenForWhatIsTheSame(t *testing.T) {
	t.Parallel()
	file := newFile(t)
	for at := int64(0); at < followedSize; at += chunk {
		if _, err := file.WriteAt([]byte{1}, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Truncate(followedSize); err != nil {
		t.Fatal(err)
	}
	s := &Sums{seed: maphash.MakeSeed()}
	s.segments = append(s.segments, s.read(file, 0))
	was, err := Seal(t.Context(), file, s)
	if err != nil {
		t.Fatal(err)
	}
	s.segments[0].digest = []byte("another")
	if is, err := Seal(t.Context(), file, s); err != nil || is == was {
		t.Errorf("the first segment was hashed again: %v", err)
	}
}

// TestFollowBesideTheWriter has the file read while it is written, also over again: behind what was read, and within it.
func TestFollowBesideTheWriter(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		random, file := rand.New(rand.NewPCG(seed, 2)), newFile(t)
		s := Follow(file)
		for at := int64(0); at < followedSize; at += chunk {
			write(t, random, file, at)
			s.Written(at + chunk)
			if random.IntN(4) == 0 {
				write(t, random, file, random.Int64N(at/chunk+1)*chunk)
			}
			if at%segment == 0 && at > 0 { // of which the reader does not tell
				for len(s.more) > 0 {
					runtime.Gosched()
				}
			}
		}
		s.Stop()
		if err := file.Truncate(followedSize); err != nil {
			t.Fatal(err)
		}
		if len(s.segments) == 0 {
			t.Errorf("seed %d: nothing was read", seed)
		}
		want, err := SegmentDigest(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Seal(t.Context(), file, s); err != nil || got != want {
			t.Errorf("seed %d: %s, %v; want %s", seed, got, err, want)
		}
	}
}
