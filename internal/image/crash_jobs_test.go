//go:build crash

package image

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"banger/internal/crash"
	"banger/internal/hosttool"
	"banger/internal/model"
)

// making are the points that whatever makes an image passes.
func making() []string {
	return []string{
		"image.build.before-digest", "image.draft.after", "image.draft.before", "image.publish.after-row",
		"image.publish.before-rename", "image.publish.before-row",
	}
}

// passed are the points that each job passes.
func passed() map[string][]string {
	return map[string][]string{
		"pull": append(making(), "image.layer.before-rename", "image.layer.after-rename", "image.layer.before-rename#3", "image.layer.after-rename#3",
			"image.pull.before-layers", "image.pull.after-layers", "image.flatten.before-finish"),
		"import":   append(making(), "image.import.spooled", "image.flatten.before-finish"),
		"register": append(making(), "image.register.copied"),
		"delete":   {"image.delete.before-mark", "image.delete.before-row", "image.delete.after-row"},
	}
}

// ofAJob says whether a point is passed only by what takes an image from elsewhere.
func ofAJob(point string) bool {
	for _, verb := range []string{"image.flatten.", "image.import.", "image.layer.", "image.pull.", "image.register."} {
		if strings.HasPrefix(point, verb) {
			return true
		}
	}
	return false
}

// TestEveryPointIsPassed keeps a new point from being forgotten.
func TestEveryPointIsPassed(t *testing.T) {
	t.Parallel()
	for _, point := range crash.Points() {
		if !ofAJob(point) {
			continue // a point of the life of an image that is built
		}
		known := false
		for _, points := range passed() {
			known = known || slices.Contains(points, point)
		}
		if !known {
			t.Errorf("no job is killed at %s", point)
		}
	}
}

// TestKilledAtAnyPoint kills a process at each point of each job. The next one finds a whole image or none, sweeps the
// rest, and does the job.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	r := newRegistry(t)
	inputs := t.TempDir()
	archive, disk := filepath.Join(inputs, "image.tar"), filepath.Join(inputs, "root.ext4")
	if err := os.WriteFile(archive, savedByDocker(t, "a:1", twoLayers(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	tool, err := hosttool.Find("mke2fs", "e2fsprogs")
	if err != nil {
		t.Skip(err)
	}
	if out, err := exec.CommandContext(t.Context(), tool, "-q", "-t", "ext4", disk, "64M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	jobs := map[string]string{"pull": "pull " + r.Push("a:1", twoLayers(1)), "import": "import " + archive, "register": "register " + disk, "delete": "delete mine"}
	for verb, points := range passed() {
		for _, point := range points {
			t.Run(verb+" "+point, func(t *testing.T) {
				t.Parallel()
				killed(t, jobs[verb], point, disk)
			})
		}
	}
}

func killed(t *testing.T, job, point, disk string) {
	dir := t.TempDir()
	s, rows, err := overStore(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	deletes := strings.HasPrefix(job, "delete")
	if deletes {
		err = s.job(t.Context(), "register "+disk)
	}
	if err := errors.Join(err, rows.Close()); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), jobVariable+"="+job, dirVariable+"="+dir, crash.Env+"="+point)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("it was not killed: %v: %s", err, out)
	}
	if s, rows, err = overStore(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	b := bench{Service: s}
	if err := errors.Join(s.Adopt(t.Context()), s.Sweep(t.Context())); err != nil {
		t.Fatal(err)
	}
	if left := b.traces(t); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	all, err := s.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if err := s.VerifyContent(t.Context(), i.Digest); err != nil {
			t.Error(err)
		}
	}
	if blobs := b.left(t); len(blobs) != len(all) {
		t.Errorf("%d rows, but %v", len(all), blobs)
	}
	if err := s.job(t.Context(), job); err != nil && !(deletes && errors.Is(err, model.ErrNotFound)) {
		t.Errorf("the next one: %v", err)
	}
	if left := b.traces(t); len(left) > 0 {
		t.Errorf("the next one left %v", left)
	}
	want := 1
	if deletes {
		want = 0
	}
	if all, err := s.Images(t.Context()); err != nil || len(all) != want {
		t.Errorf("in the end %v, %v", all, err)
	}
}
