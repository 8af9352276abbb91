package doctor_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/dirs"
	"banger/internal/doctor"
	"banger/internal/model"
	"banger/internal/testenv"
)

func digest(n int) model.Digest { return model.Digest(fmt.Sprintf("sha256:%064x", n)) }

// library is an installation with an image, a kernel and what was kept of their making, in order.
func library(t *testing.T) (dirs.Dirs, doctor.Rows) {
	t.Helper()
	root := t.TempDir()
	d := dirs.Dirs{State: root + "/state", Data: root + "/data", Cache: root + "/cache", Config: root + "/config"}
	for dir, files := range map[string][]string{
		filepath.Join(d.Images(), digest(1).Hex()):  {"root.ext4"},
		filepath.Join(d.Kernels(), digest(2).Hex()): {"vmlinux", "modules.ext4", "early.cpio"},
	} {
		manifest := `{"format": 1, "files": {`
		for n, f := range files {
			write(t, filepath.Join(dir, f))
			manifest += strings.Repeat(", ", min(n, 1)) + `"` + f + `": {"bytes": 0}`
		}
		write(t, filepath.Join(dir, "manifest.json"))
		if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(manifest+"}}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{
		d.Data + "/locks/builds", d.Data + "/locks/kernel-default", d.Cache + "/downloads/builds", d.Cache + "/layers/builds",
		d.Cache + "/layers/" + digest(3).Hex(), d.Cache + "/initrd/x.cpio", d.Cache + "/verified/images-" + digest(1).Hex(),
		d.Cache + "/verified/kernels-" + digest(2).Hex(), d.Images() + "/notes.txt",
	} {
		write(t, file)
	}
	return d, doctor.Rows{
		Alone:   true,
		Images:  []model.Image{{Digest: digest(1), Name: "debian", Tags: []string{"debian", "other"}}},
		Kernels: []model.Kernel{{Digest: digest(2), Name: "default"}},
	}
}

func TestALibraryInOrderHasNoLeaks(t *testing.T) {
	t.Parallel()
	d, rows := library(t)
	// What somebody is making just now, in an operation, under its locks.
	hold := func(path string, how int) {
		write(t, path)
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		if err := unix.Flock(int(file.Fd()), how); err != nil {
			t.Fatal(err)
		}
	}
	if found := ledger(t, d, rows); len(found) > 0 {
		t.Errorf("at rest: %v", found)
	}
	for _, dir := range []string{d.Data + "/locks", d.Cache + "/downloads", d.Cache + "/layers"} {
		hold(dir+"/builds", unix.LOCK_SH)
	}
	for _, file := range []string{d.Data + "/locks/name-1", d.Cache + "/layers/x.part", d.Cache + "/initrd/y.cpio.part"} {
		hold(file, unix.LOCK_EX)
	}
	for _, dir := range []string{d.Images() + "/.tmp-1", d.Kernels() + "/.tmp-1", d.Cache + "/downloads/.tmp-1"} {
		write(t, dir+"/file")
	}
	write(t, filepath.Join(d.Images(), digest(1).Hex(), "pending"))
	program(t, d.Cache+"/downloads/.tmp-1", "apt-get")
	rows.Operations = []model.Operation{{Kind: "image-build"}}
	if found := ledger(t, d, rows); len(found) > 0 {
		t.Errorf("while something is made: %v", found)
	}
	rows.Operations = nil
	kinds := map[string]int{}
	for _, l := range ledger(t, d, rows) {
		kinds[l.Kind]++
	}
	if kinds["lock"] != 3 || kinds["process"] != 1 {
		t.Errorf("without the operation: %v", kinds)
	}
}

// program starts one that works in dir and has a word in its command line, and returns its pid.
func program(t *testing.T, dir, word string) string {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.Args[0], cmd.Dir = word, dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	return fmt.Sprint(cmd.Process.Pid)
}

func TestEachPlantedLeakOfImagesIsNamed(t *testing.T) {
	t.Parallel()
	planted := func(t *testing.T, path string) string { t.Helper(); write(t, path); return path }
	for name, c := range map[string]struct {
		plant func(t *testing.T, d dirs.Dirs, r *doctor.Rows) (what string)
		kind  string
	}{
		"a blob without a row": {func(_ *testing.T, d dirs.Dirs, r *doctor.Rows) string {
			r.Images = nil
			return filepath.Join(d.Images(), digest(1).Hex())
		}, "directory"},
		"a kernel without a row": {func(_ *testing.T, d dirs.Dirs, r *doctor.Rows) string {
			r.Kernels = nil
			return filepath.Join(d.Kernels(), digest(2).Hex())
		}, "directory"},
		"a row without a blob": {func(_ *testing.T, _ dirs.Dirs, r *doctor.Rows) string {
			r.Images = append(r.Images, model.Image{Digest: digest(7)})
			return string(digest(7))
		}, "row"},
		"a row whose file is gone": {func(t *testing.T, d dirs.Dirs, _ *doctor.Rows) string {
			if err := os.Remove(filepath.Join(d.Kernels(), digest(2).Hex(), "early.cpio")); err != nil {
				t.Fatal(err)
			}
			return string(digest(2))
		}, "row"},
		"a row whose file is cut off": {func(t *testing.T, d dirs.Dirs, _ *doctor.Rows) string {
			if err := os.Truncate(filepath.Join(d.Images(), digest(1).Hex(), "root.ext4"), 1); err != nil {
				t.Fatal(err)
			}
			return string(digest(1))
		}, "row"},
		"a name of two": {func(_ *testing.T, _ dirs.Dirs, r *doctor.Rows) string {
			r.Images = append(r.Images, model.Image{Digest: digest(8), Tags: []string{"other"}})
			return "other"
		}, "name"},
		"a draft": {func(t *testing.T, d dirs.Dirs, _ *doctor.Rows) string {
			return filepath.Dir(planted(t, d.Images()+"/.tmp-1/root.ext4"))
		}, "directory"},
		"a draft of a kernel": {func(t *testing.T, d dirs.Dirs, _ *doctor.Rows) string {
			return filepath.Dir(planted(t, d.Kernels()+"/.tmp-1/vmlinux"))
		}, "directory"},
		"a mark": {func(t *testing.T, d dirs.Dirs, _ *doctor.Rows) string {
			return filepath.Dir(planted(t, filepath.Join(d.Images(), digest(1).Hex(), "pending")))
		}, "directory"},
		"a scratch directory": {func(t *testing.T, d dirs.Dirs, _ *doctor.Rows) string {
			return filepath.Dir(planted(t, d.Cache+"/downloads/.tmp-1/x"))
		}, "directory"},
		"a claim of a name": {func(t *testing.T, d dirs.Dirs, _ *doctor.Rows) string { return planted(t, d.Data+"/locks/name-1") }, "lock"},
		"half a layer":      {func(t *testing.T, d dirs.Dirs, _ *doctor.Rows) string { return planted(t, d.Cache+"/layers/x.part") }, "lock"},
		"half an initramfs": {func(t *testing.T, d dirs.Dirs, _ *doctor.Rows) string {
			return planted(t, d.Cache+"/initrd/x.cpio.part")
		}, "lock"},
		"a note about what is gone": {func(t *testing.T, d dirs.Dirs, _ *doctor.Rows) string {
			return planted(t, d.Cache+"/verified/images-"+digest(9).Hex())
		}, "file"},
		"a file written aside": {func(t *testing.T, d dirs.Dirs, _ *doctor.Rows) string {
			return planted(t, filepath.Join(d.Images(), digest(1).Hex(), ".manifest.json.12.tmp"))
		}, "file"},
		"a program in a scratch directory": {func(t *testing.T, d dirs.Dirs, _ *doctor.Rows) string {
			return program(t, filepath.Dir(planted(t, d.Cache+"/downloads/.tmp-1/x")), "apt-get")
		}, "process"},
		"a program on a draft": {func(t *testing.T, d dirs.Dirs, _ *doctor.Rows) string {
			return program(t, "/", d.Images()+"/.tmp-1/root.ext4")
		}, "process"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, rows := library(t)
			what := c.plant(t, d, &rows)
			for _, l := range ledger(t, d, rows) {
				if l.Kind == c.kind && l.What == what {
					return
				}
			}
			t.Errorf("the ledger does not name %s %s: %v", c.kind, what, ledger(t, d, rows))
		})
	}
}

func TestTheLedgerSaysWhatItCannotRead(t *testing.T) {
	t.Parallel()
	d, rows := library(t)
	if err := errors.Join(os.RemoveAll(d.Images()), os.WriteFile(d.Images(), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := doctor.Ledger(t.Context(), d, rows); err == nil {
		t.Error("a file in place of the images' directory is no error")
	}
}

// shared is a library whose directories another installation has, too, with all that it may have there.
func shared(t *testing.T) (dirs.Dirs, doctor.Rows) {
	t.Helper()
	d, rows := library(t)
	rows.Alone, rows.Instance = false, "aaaaaaaa"
	theirs := filepath.Join(d.Images(), digest(5).Hex())
	write(t, filepath.Join(theirs, "root.ext4"))
	if err := os.WriteFile(filepath.Join(theirs, "pending"), []byte("bbbbbbbb"), 0o600); err != nil {
		t.Fatal(err)
	}
	return d, rows
}

func TestWhatAnotherInstallationHasIsNoLeak(t *testing.T) {
	t.Parallel()
	d, rows := shared(t)
	if found := ledger(t, d, rows); len(found) > 0 {
		t.Errorf("another one's image: %v", found)
	}
	for _, dir := range []string{d.Data + "/locks", d.Cache + "/downloads"} {
		file, err := os.Open(dir + "/builds")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := unix.Flock(int(file.Fd()), unix.LOCK_SH); err != nil {
			t.Fatal(err)
		}
	}
	write(t, d.Images()+"/.tmp-1/root.ext4")
	write(t, d.Cache+"/downloads/.tmp-1/x")
	program(t, d.Cache+"/downloads/.tmp-1", "apt-get")
	if found := ledger(t, d, rows); len(found) > 0 {
		t.Errorf("another one's build: %v", found)
	}
	lockFile(t, d.Lock()) // and now the build is this installation's daemon's, which is at nothing
	if found := ledger(t, d, rows); !named(found, "lock", d.Data+"/locks/builds") || !named(found, "process", "") {
		t.Errorf("ours: %v", found)
	}
}

func TestWhatIsSurelyNobodysInSharedDirectories(t *testing.T) {
	t.Parallel()
	testenv.NeedTool(t, "flock")
	d, rows := shared(t)
	write(t, filepath.Join(d.Images(), digest(1).Hex(), "pending"))
	write(t, d.Cache+"/downloads/.tmp-1/x")
	found := ledger(t, d, rows)
	for _, what := range []string{filepath.Join(d.Images(), digest(1).Hex()), d.Cache + "/downloads/.tmp-1"} {
		if !named(found, "directory", what) {
			t.Errorf("%s is not among %v", what, found)
		}
	}
	// A program has the lock of a daemon that is dead.
	cmd := exec.Command("sh", "-c", `exec 9<"$0"; flock -s 9; exec sleep 600`, d.Cache+"/downloads/builds")
	cmd.Dir = d.Cache + "/downloads/.tmp-1"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	deadline := time.Now().Add(time.Minute)
	for {
		found := ledger(t, d, rows)
		if named(found, "lock", d.Cache+"/downloads/builds") && named(found, "process", fmt.Sprint(cmd.Process.Pid)) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("found %v", found)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
