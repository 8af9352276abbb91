package rootedfs_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/rootedfs"
	"banger/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, dir string) *rootedfs.Root {
	t.Helper()
	r, err := rootedfs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func write(t testing.TB, name, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

// oddTree makes a directory with some of everything that is copied.
func oddTree(t testing.TB, dir string) {
	t.Helper()
	for i, name := range []string{
		"plain", "with space", "new\nline", "tab\t\"quoted\" 'it'", "-rf", "ünï¢ødé", "\xff\xfenot utf8", "..dots", "a:b",
		strings.Repeat("n", 255), "deep/" + strings.Repeat("d/", 60) + "file", "*", "%s%n", "trailing ", "back\\slash",
	} {
		write(t, filepath.Join(dir, name), fmt.Sprintf("content %d", i), fs.FileMode(0o400+i*0o11)&0o777|0o400)
	}
	write(t, filepath.Join(dir, "empty"), "", 0o644)
	for _, link := range []struct{ target, name string }{{"plain", "link"}, {"/etc/passwd", "absolute"}, {"nowhere/at/all", "dangling"}, {"../../..", "up"}, {"deep", "to-dir"}} {
		if err := os.Symlink(link.target, filepath.Join(dir, link.name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "plain"), filepath.Join(dir, "hard")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "empty dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "closed/file"), "x", 0o644)
	holey, err := os.Create(filepath.Join(dir, "holey"))
	if err != nil {
		t.Fatal(err)
	}
	holey.WriteAt([]byte("begin"), 0)
	holey.WriteAt([]byte("middle"), 50<<20)
	holey.Truncate(100 << 20)
	holey.Close()
	if err := os.Truncate(filepath.Join(dir, "empty"), 0); err != nil {
		t.Fatal(err)
	}
	hole, err := os.Create(filepath.Join(dir, "only a hole"))
	if err != nil {
		t.Fatal(err)
	}
	hole.Truncate(1 << 30)
	hole.Close()
	when := time.Date(2001, 2, 3, 4, 5, 6, 789_000_000, time.UTC)
	for _, name := range []string{"plain", "empty dir", "closed"} {
		if err := os.Chtimes(filepath.Join(dir, name), when, when); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(filepath.Join(dir, "closed"), 0o555)
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "closed"), 0o755) })
}

// describe lists a tree, one line a file: all that a copy keeps.
func describe(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%q %s %s", rel, info.Mode(), info.ModTime().UTC().Format(time.RFC3339Nano))
		switch {
		case info.Mode().IsRegular():
			st := info.Sys().(*syscall.Stat_t)
			fmt.Fprintf(&b, " %d bytes, %d names, blocks %v", info.Size(), st.Nlink, st.Blocks*512 < info.Size())
			if info.Size() < 1<<20 {
				raw, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				fmt.Fprintf(&b, " %q", raw)
			}
			value := make([]byte, 100)
			if n, err := unix.Lgetxattr(name, "user.banger", value); err == nil {
				fmt.Fprintf(&b, " xattr %q", value[:n])
			}
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s", target)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func pack(t testing.TB, dir, name string, o rootedfs.PackOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := open(t, dir).Pack(t.Context(), name, &b, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	oddTree(t, filepath.Join(from, "tree"))
	_ = unix.Setxattr(filepath.Join(from, "tree/plain"), "user.banger", []byte("v\x00w"), 0) // kept where there are any
	archive := pack(t, from, "tree", rootedfs.PackOptions{Name: "copy"})
	if len(archive) > 1<<20 {
		t.Errorf("the archive has %d bytes: holes were sent", len(archive))
	}
	want := describe(t, filepath.Join(from, "tree"))
	for _, c := range []struct {
		name string
		o    rootedfs.ExtractOptions
		dir  bool // copy is there before
	}{
		{"fresh", rootedfs.ExtractOptions{Name: "copy"}, false},
		{"fresh, any names", rootedfs.ExtractOptions{}, false},
		{"synced", rootedfs.ExtractOptions{Name: "copy", Sync: func() error { return nil }}, false},
		{"into a directory", rootedfs.ExtractOptions{Name: "copy"}, true},
		{"into a directory, synced", rootedfs.ExtractOptions{Sync: func() error { return nil }}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			to := t.TempDir()
			want := want
			if c.dir {
				write(t, filepath.Join(to, "copy/plain"), "older", 0o666)
				os.Symlink("/nowhere", filepath.Join(to, "copy/holey"))
			}
			sum, err := open(t, to).Extract(t.Context(), bytes.NewReader(archive), c.o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(filepath.Join(to, "copy/closed"), 0o755) })
			got := describe(t, filepath.Join(to, "copy"))
			if c.dir { // one that was there keeps its mode and time
				_, want, _ = strings.Cut(want, "\n")
				_, got, _ = strings.Cut(got, "\n")
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if sum.Skipped > 0 || sum.Files == 0 || sum.Links != 5 {
				t.Errorf("summary %+v", sum)
			}
			noTemps(t, to)
		})
	}
}

func noTemps(t testing.TB, dir string) {
	t.Helper()
	filepath.WalkDir(dir, func(name string, _ fs.DirEntry, _ error) error {
		if rootedfs.IsTemp(filepath.Base(name)) {
			t.Errorf("%s is left behind", name)
		}
		return nil
	})
}

// What others write and read: GNU tar, with its holes.
func TestGNUTar(t *testing.T) {
	t.Parallel()
	program := testenv.NeedTool(t, "tar")
	from := t.TempDir()
	oddTree(t, filepath.Join(from, "tree"))
	want := describe(t, filepath.Join(from, "tree"))
	t.Run("reads ours", func(t *testing.T) {
		t.Parallel()
		to := t.TempDir()
		cmd := exec.Command(program, "-xp", "-C", to)
		cmd.Stdin = bytes.NewReader(pack(t, from, "tree", rootedfs.PackOptions{Portable: true}))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Cleanup(func() { os.Chmod(filepath.Join(to, "tree/closed"), 0o755) })
		if got := describe(t, filepath.Join(to, "tree")); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
	for _, format := range []string{"gnu", "posix"} {
		t.Run("is read, "+format, func(t *testing.T) {
			t.Parallel()
			archive, err := exec.Command(program, "-cS", "--format="+format, "-C", from, "tree").Output()
			if err != nil {
				t.Fatal(err)
			}
			to := t.TempDir()
			if _, err := open(t, to).Extract(t.Context(), bytes.NewReader(archive), rootedfs.ExtractOptions{}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(filepath.Join(to, "tree/closed"), 0o755) })
			got := describe(t, filepath.Join(to, "tree"))
			want := want
			if format == "gnu" { // whole seconds
				got, want = withoutTimes(got), withoutTimes(want)
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func withoutTimes(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		lines = append(lines, strings.Join(slices.DeleteFunc(fields, func(f string) bool { return strings.HasSuffix(f, "Z") && strings.Contains(f, "T") }), " "))
	}
	return strings.Join(lines, "\n")
}

func TestPackLeavesOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "tree/file"), "x", 0o644)
	if err := unix.Mkfifo(filepath.Join(dir, "tree/fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	var warnings []string
	archive := pack(t, dir, "tree", rootedfs.PackOptions{Warn: func(line string) { warnings = append(warnings, line) }})
	if len(warnings) != 1 || !strings.Contains(warnings[0], "fifo") {
		t.Errorf("warnings %q", warnings)
	}
	if names := list(t, archive); !slices.Equal(names, []string{"tree/", "tree/file"}) {
		t.Errorf("entries %q", names)
	}
	var b bytes.Buffer
	if _, err := open(t, dir).Pack(t.Context(), "tree/fifo", &b, rootedfs.PackOptions{}); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("a FIFO by name: %v", err)
	}
	if _, err := open(t, dir).Pack(t.Context(), "tree/nothing", &b, rootedfs.PackOptions{}); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("nothing: %v", err)
	}
}

func TestPackReadsProc(t *testing.T) {
	t.Parallel()
	archive := pack(t, "/proc", "version", rootedfs.PackOptions{})
	tr := tar.NewReader(bytes.NewReader(archive))
	if _, err := tr.Next(); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(tr); !bytes.HasPrefix(got, []byte("Linux")) {
		t.Errorf("content %q", got)
	}
}

func list(t testing.TB, archive []byte) (names []string) {
	t.Helper()
	tr := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}
