package firecracker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/testenv"
)

// file makes a file that says its name.
func file(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("the "+name), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newStock is one beside a directory that stands for a jail's.
func newStock(t *testing.T) (s *stock, jail string) {
	t.Helper()
	dir := testenv.QuickDir(t)
	s, jail = &stock{dir: filepath.Join(dir, "stock"), log: slog.New(slog.DiscardHandler)}, filepath.Join(dir, "jail")
	if err := errors.Join(os.Mkdir(s.dir, 0o700), os.Mkdir(jail, 0o700)); err != nil {
		t.Fatal(err)
	}
	return s, jail
}

// copiesIn are the inodes of all that is in the stock, by name.
func copiesIn(t *testing.T, s *stock) map[string]uint64 {
	t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]uint64{}
	for _, e := range entries {
		all[e.Name()] = stat(t, filepath.Join(s.dir, e.Name())).Ino
	}
	return all
}

func stat(t *testing.T, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t)
}

// put has the stock make a file, whose inode and content it returns.
func put(t *testing.T, s *stock, from, to string) (inode uint64, text string) {
	t.Helper()
	if err := s.put(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	got := stat(t, to)
	if got.Mode != unix.S_IFREG|0o644 {
		t.Errorf("its mode is %o", got.Mode)
	}
	return got.Ino, string(raw)
}

// TestAFileIsCopiedOnce for all starts, and again when it was changed.
func TestAFileIsCopiedOnce(t *testing.T) {
	t.Parallel()
	s, jail := newStock(t)
	kernel := file(t, "kernel")
	first, text := put(t, s, kernel, filepath.Join(jail, "1"))
	second, again := put(t, s, kernel, filepath.Join(jail, "2"))
	if first != second || text != "the kernel" || again != text || len(copiesIn(t, s)) != 1 {
		t.Errorf("inodes %d and %d say %q and %q; there are %v", first, second, text, again, copiesIn(t, s))
	}
	if err := os.WriteFile(kernel, []byte("another one"), 0o600); err != nil {
		t.Fatal(err)
	}
	third, text := put(t, s, kernel, filepath.Join(jail, "3"))
	if third == first || text != "another one" {
		t.Errorf("after a change inode %d says %q", third, text)
	}
}

// TestStartsAtOnceShareACopy that one of them makes, while others are removed.
func TestStartsAtOnceShareACopy(t *testing.T) {
	t.Parallel()
	s, jail := newStock(t)
	kernel, initrd := file(t, "kernel"), file(t, "initrd")
	var starts sync.WaitGroup
	for n := range 20 {
		starts.Go(func() {
			for _, from := range []string{kernel, initrd} {
				to := filepath.Join(jail, fmt.Sprint(n, filepath.Base(from)))
				if err := s.put(t.Context(), from, to); err != nil {
					t.Error(err)
				}
				s.trim(0)
			}
		})
	}
	starts.Wait()
	inodes := map[uint64]bool{}
	entries, err := os.ReadDir(jail)
	if err != nil || len(entries) != 40 {
		t.Fatal(len(entries), err)
	}
	for _, e := range entries {
		inodes[stat(t, filepath.Join(jail, e.Name())).Ino] = true
	}
	if len(inodes) != 2 || len(copiesIn(t, s)) != 2 {
		t.Errorf("inodes: %v; copies: %v", inodes, copiesIn(t, s))
	}
}

// TestFewCopiesAreKept: the last used ones, those that a start needs, and what is not the stock's. Halves are not.
func TestFewCopiesAreKept(t *testing.T) {
	t.Parallel()
	s, jail := newStock(t)
	var last []uint64
	needed, _ := put(t, s, file(t, "needed"), filepath.Join(jail, "needed"))
	for n := range stocked + 3 {
		to := filepath.Join(jail, "kernel")
		inode, _ := put(t, s, file(t, fmt.Sprint(n)), to)
		if err := os.Remove(to); err != nil {
			t.Fatal(err)
		}
		last = append(last, inode)
		time.Sleep(20 * time.Millisecond) // the kernel's clock of inodes is a coarse one
	}
	half := strings.Repeat("ab", 32)
	for _, name := range []string{"notes", ".notes.1.tmp", "." + half + ".1.tmp", "." + half + ".2.tmp"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	done, err := s.using.Take(t.Context(), half)
	if err != nil {
		t.Fatal(err)
	}
	s.trim(stocked)
	want := map[uint64]bool{needed: true}
	for _, inode := range last[3:] {
		want[inode] = true
	}
	all := copiesIn(t, s)
	for name, inode := range all {
		if !want[inode] && !strings.Contains(name, "notes") && !strings.Contains(name, half) {
			t.Errorf("%s is left", name)
		}
	}
	if len(all) != stocked+1+4 {
		t.Errorf("%d are left: %v", len(all), all)
	}
	done() // whoever made these has ended
	s.trim(0)
	if all = copiesIn(t, s); len(all) != 3 {
		t.Errorf("left at the end: %v", all)
	}
}

// TestAStartDoesWithoutTheStock where it is not there, cannot be written to, is elsewhere, or has no room.
func TestAStartDoesWithoutTheStock(t *testing.T) {
	t.Parallel()
	s, jail := newStock(t)
	absent, shut := &stock{dir: filepath.Join(jail, "absent"), log: s.log}, &stock{dir: "/proc/self", log: s.log}
	for name, s := range map[string]*stock{"absent": absent, "shut": shut} {
		if inode, text := put(t, s, file(t, "kernel"), filepath.Join(jail, name)); inode == 0 || text != "the kernel" {
			t.Errorf("%s: %q", name, text)
		}
	}
	if _, text := put(t, s, os.DevNull, filepath.Join(jail, "device")); text != "" || len(copiesIn(t, s)) != 0 {
		t.Errorf("of what is no file: %q, %v", text, copiesIn(t, s))
	}
	if err := s.put(t.Context(), filepath.Join(jail, "nowhere"), filepath.Join(jail, "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of what is not there: %v", err)
	}
	// What somebody else has put in the place is not written to.
	if err := os.Symlink(filepath.Join(jail, "aim"), filepath.Join(jail, "planted")); err != nil {
		t.Fatal(err)
	}
	if err := s.put(t.Context(), file(t, "kernel"), filepath.Join(jail, "planted")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a link: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(jail, "aim")); err == nil {
		t.Error("a link was followed")
	}
}

// TestAStartIsGivenUp while another makes the copy.
func TestAStartIsGivenUp(t *testing.T) {
	t.Parallel()
	s, jail := newStock(t)
	kernel := file(t, "kernel")
	source, err := os.Open(kernel)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	name, err := copyName(source)
	if err != nil {
		t.Fatal(err)
	}
	done, err := s.using.Take(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.put(given, kernel, filepath.Join(jail, "kernel")); !errors.Is(err, context.Canceled) {
		t.Errorf("a start that was given up goes on: %v", err)
	}
}

// TestAFullFileSystem: what is kept makes room; when there is still none, nothing is left.
func TestAFullFileSystem(t *testing.T) {
	dir := testenv.SmallDisk(t, 8<<20)
	s := &stock{dir: filepath.Join(dir, "stock"), log: slog.New(slog.DiscardHandler)}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	of := func(size int64) string {
		path := file(t, "kernel")
		if err := os.WriteFile(path, slices.Repeat([]byte{1}, int(size)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old := filepath.Join(dir, "old")
	put(t, s, of(5<<20), old)
	if err := os.Remove(old); err != nil {
		t.Fatal(err)
	}
	put(t, s, of(6<<20), filepath.Join(dir, "fits"))
	if all := copiesIn(t, s); len(all) != 0 {
		t.Errorf("kept: %v", all)
	}
	if err := s.put(t.Context(), of(7<<20), filepath.Join(dir, "large")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("without room: %v", err)
	}
	if all := copiesIn(t, s); len(all) != 0 {
		t.Errorf("left: %v", all)
	}
}
