package ext4

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"banger/internal/hosttool"
	"banger/internal/image/sparse"
	"banger/internal/model"
)

func needTool(t *testing.T, name string) string {
	t.Helper()
	path, err := hosttool.Find(name, "e2fsprogs")
	if err != nil {
		t.Skip(err)
	}
	return path
}

// files are sized so that data lies across the starts of block groups 1 and 3, where superblock copies come to be.
func stream(t *testing.T, sizes []int64) (io.Reader, map[string][32]byte) {
	t.Helper()
	sums := map[string][32]byte{}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	random := rand.NewChaCha8([32]byte{1})
	for i, size := range sizes {
		content := make([]byte, size)
		if _, err := random.Read(content); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("f%03d", i)
		sums[name] = sha256.Sum256(content)
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out, sums
}

func finished(t *testing.T, path string, in io.Reader, size int64) {
	t.Helper()
	written, err := Write(t.Context(), path, in)
	if err != nil {
		t.Fatal(err)
	}
	if salted := written.Salted([]byte("x")); salted.sums == nil || salted.sums != written.sums || salted.UUID == written.UUID {
		t.Errorf("%+v salted is %+v", written, salted)
	}
	digest, err := written.Finish(t.Context(), path, size)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if read, err := sparse.SegmentDigest(t.Context(), file); err != nil || read != digest {
		t.Errorf("its digest is %s, %v, and it was said to be %s", read, err, digest)
	}
}

// TestFinishKeepsEveryByte reads all contents back: a check of the file system alone does not see a file overwritten. The
// writer puts inode tables and bitmaps where the data ends.
func TestFinishKeepsEveryByte(t *testing.T) {
	t.Parallel()
	debugfs := needTool(t, "debugfs")
	const manyDescriptors = "copies of more descriptors than the writer thought of"
	for name, sizes := range map[string][]int64{
		manyDescriptors:                        {150 << 20, 1 << 20, 280 << 20},
		"many files":                           slices.Repeat([]int64{5 << 20, 70_000, 3 << 20, 1}, 28),
		"one large file":                       {420 << 20},
		"an even one":                          {230 << 20},
		"inode tables where copies come to be": {126 << 20},
		"a directory where copies come to be":  append([]int64{127<<20 + 900<<10}, make([]int64, 30_000)...),
		"a directory without room beside it":   make([]int64, 3000),
		"next to nothing":                      {1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "root.ext4")
			in, sums := stream(t, sizes)
			size := int64(10 << 30)
			if name == manyDescriptors {
				size = 500 << 30
			}
			finished(t, path, in, size)
			for name, want := range sums {
				if want == sha256.Sum256(nil) {
					continue // a program run for each would take too long
				}
				got := sha256.New()
				cmd := exec.CommandContext(t.Context(), debugfs, "-R", "cat /"+name, path)
				cmd.Stdout = got
				if err := cmd.Run(); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got.Sum(nil), want[:]) {
					t.Errorf("%s has another content in the file system", name)
				}
			}
			checkGeometry(t, path, int(size/blockSize/blocksPerGroup), max(groupInodes, (len(sizes)/2+15)/16*16)) // the many are in two groups
			if got := indexed(t, debugfs, path, "/"); got != (len(sizes) > 1000) {
				t.Errorf("its directory of %d has an index: %t", len(sizes), got)
			}
		})
	}
}

// TestFinishManyDirectories has more directories that need an index than there is room for before the file system grows.
func TestFinishManyDirectories(t *testing.T) {
	t.Parallel()
	debugfs := needTool(t, "debugfs")
	const dirs, links = 1800, 190
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h tar.Header) {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	for d := range dirs {
		add(tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprint("d", d), Mode: 0o755})
		if d%300 == 0 { // a file has at most 65,000 names
			add(tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint("f", d/300), Mode: 0o644})
		}
		for l := range links {
			add(tar.Header{Typeflag: tar.TypeLink, Name: fmt.Sprintf("d%d/%060d", d, l), Linkname: fmt.Sprint("f", d/300)})
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "root.ext4")
	finished(t, path, &out, 10<<30)
	for _, d := range []int{0, dirs / 2, dirs - 1} {
		if !indexed(t, debugfs, path, fmt.Sprint("/d", d)) {
			t.Errorf("directory %d has no index", d)
		}
	}
}

func indexed(t *testing.T, debugfs, path, dir string) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), debugfs, "-R", "stat "+dir, path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`Flags: 0x[0-9a-f]*1000\n`).Match(out)
}

// checkGeometry looks at what no check of the file system would complain about.
func checkGeometry(t *testing.T, path string, groups, perGroup int) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), needTool(t, "dumpe2fs"), path).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`Filesystem features:.* has_journal .*dir_index .* sparse_super .*uninit_bg`,
		`Filesystem state: +clean\n`,
		fmt.Sprintf(`Inodes per group: +%d\n`, perGroup),
		fmt.Sprintf(`Inode count: +%d\n`, groups*perGroup),
		`Flex block group size: +16\n`,
		`Default directory hash: +half_md4\n`,
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("no %s in\n%.3000s", want, out)
		}
	}
	if n := bytes.Count(out, []byte("ITABLE_ZEROED]")); n != groups {
		t.Errorf("a guest would zero the inode tables of %d groups", groups-n)
	}
	for _, gone := range []string{"sparse_super2", "read-only"} {
		if bytes.Contains(out, []byte(gone)) {
			t.Errorf("it still says %s", gone)
		}
	}
	if out, err := exec.CommandContext(t.Context(), needTool(t, "dumpe2fs"), "-b", path).Output(); err != nil || len(out) > 0 {
		t.Errorf("bad blocks %s, %v", out, err)
	}
}

func TestSameTarSameImage(t *testing.T) {
	t.Parallel()
	needTool(t, "debugfs")
	dir := t.TempDir()
	var sums [2][]byte
	for i := range sums {
		in, _ := stream(t, []int64{100, 5000, 0, 9 << 20})
		path := filepath.Join(dir, fmt.Sprint(i))
		finished(t, path, in, 256<<20)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = data
	}
	if !bytes.Equal(sums[0], sums[1]) {
		t.Error("two conversions of one tar differ")
	}
}

func TestBackupBlocks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		size int64
		want []int64
	}{
		{64 << 20, nil},
		{256 << 20, []int64{32768, 32769}},
		{10 << 30, []int64{
			32768, 32769, 98304, 98305, 163840, 163841, 229376, 229377, 294912, 294913, 819200, 819201, 884736, 884737, 1605632, 1605633,
		}},
	} {
		if got := backupBlocks(c.size); !slices.Equal(got, c.want) {
			t.Errorf("%d: %v, want %v", c.size, got, c.want)
		}
	}
}

func TestWriteEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in, _ := stream(t, []int64{10})
	if _, err := Write(ctx, filepath.Join(t.TempDir(), "x"), in); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	needTool(t, "tune2fs")
	if _, err := (Written{UUID: "x"}).Finish(ctx, filepath.Join(t.TempDir(), "x"), 1<<20); !errors.Is(err, model.ErrCanceled) {
		t.Errorf("got %v", err)
	}
	written := filepath.Join(t.TempDir(), "x")
	in, _ = stream(t, []int64{10})
	w, err := Write(t.Context(), written, in)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := w.check(ctx, written); !errors.Is(err, model.ErrCanceled) || d != "" {
		t.Errorf("got %q, %v", d, err)
	}
}
