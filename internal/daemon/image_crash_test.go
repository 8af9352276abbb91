//go:build crash

package daemon_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"banger/client"
	"banger/internal/crash"
)

// TestEveryPointOfImagesIsWalked keeps a new point from being forgotten.
func TestEveryPointOfImagesIsWalked(t *testing.T) {
	t.Parallel()
	walked := map[string]bool{}
	for _, job := range (inputs{}).jobs() {
		for _, point := range job.points {
			name, _, _ := strings.Cut(point, "#")
			walked[name] = true
		}
	}
	for _, point := range crash.Points() {
		if strings.HasPrefix(point, "image.") && elsewhere(point) && !walked[point] {
			t.Errorf("no job is killed at %s", point)
		}
	}
}

func TestADaemonKilledAtAnyPointOfAJobOnImagesLeaksNothing(t *testing.T) {
	t.Parallel()
	in := newInputs(t)
	in.registered = registerOnce(t, in)
	for name, job := range in.jobs() {
		for _, point := range job.points {
			t.Run(name+" "+point, func(t *testing.T) {
				t.Parallel()
				in.walk(t, job, point)
			})
		}
	}
	// A daemon is killed again while it makes up for the first one's death.
	for _, again := range []struct {
		job    string
		points []string
	}{
		{"register", []string{"image.publish.before-row", "image.discard.renamed"}},
		{"register", []string{"image.publish.after-row", "image.settle.after"}},
		{"build an image", []string{"image.program.after", "image.bootstrap.removed"}},
	} {
		t.Run(again.job+" "+strings.Join(again.points, " "), func(t *testing.T) {
			t.Parallel()
			in.walk(t, in.jobs()[again.job], again.points...)
		})
	}
}

// walk kills daemons at points, one after the other, the first one in a job. It asks the one after them what is left, and
// to do the job.
func (in inputs) walk(t *testing.T, job imageJob, points ...string) {
	h := newHost(t)
	if job.prepare != nil {
		job.prepare(h)
	}
	for i, point := range points {
		cmd := h.start(append(in.env(h), crash.Env+"="+point)...)
		if i == 0 {
			if c, err := client.Dial(t.Context(), client.Options{Dirs: h.dirs}); err == nil {
				if err := job.do(t.Context(), c); err == nil {
					t.Errorf("it was done by a daemon that is dead")
				}
				c.Close()
			}
		}
		died(t, cmd, point)
	}
	cmd := h.start(in.env(h)...)
	c := h.dial()
	vms := h.settled(c)
	h.noLeaks(vms)
	names, _ := h.whole(c)
	for _, kept := range job.kept {
		if !slices.Contains(names, kept) {
			t.Errorf("%s is gone: %q", kept, names)
		}
	}
	if err := job.do(t.Context(), c); err != nil {
		t.Errorf("the next one: %v", err)
	}
	names, images := h.whole(c)
	if !slices.Equal(names, slices.Sorted(slices.Values(job.after))) {
		t.Errorf("in the end there are %q, want %q", names, job.after)
	}
	if job.check != nil {
		if wrong := job.check(images); wrong != "" {
			t.Error(wrong)
		}
	}
	if kernels, err := c.Kernels(t.Context()); err != nil || len(kernels) != job.kernels {
		t.Errorf("in the end there are the kernels %v, %v", kernels, err)
	}
	vms = h.settled(c)
	h.stop(cmd)
	h.noLeaks(vms)
	if left, err := os.ReadDir(filepath.Join(h.root, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("beside its directories: %v, %v", left, err)
	}
}

// env makes a daemon work with the scripted tools and with nothing of the user's.
func (in inputs) env(h *host) []string {
	tmp := filepath.Join(h.root, "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		h.t.Fatal(err)
	}
	return []string{toolsVariable + "=" + in.tools, "TMPDIR=" + tmp, "DOCKER_CONFIG=" + tmp}
}
