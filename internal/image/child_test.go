package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/image/tarfilter"
	"banger/internal/model"
)

func script(t *testing.T, text string) child {
	t.Helper()
	dir := t.TempDir()
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	return child{path: "/bin/sh", args: []string{"-c", text}, env: childEnv(), work: scratch{dir: dir, lock: lock}}
}

func TestChild(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var lines []string
	c := script(t, `pwd; echo "I: one" >&2; printf 'two\rthree' >&2`)
	c.stdout, c.line = &out, func(l string) { lines = append(lines, l) }
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(out.String()) != c.work.dir || strings.Join(lines, "|") != "I: one|two|three" {
		t.Errorf("%q, %q", out.String(), lines)
	}
}

func TestChildFails(t *testing.T) {
	t.Parallel()
	c := script(t, `i=0; while [ $i -lt 50 ]; do echo "line $i" >&2; i=$((i+1)); done; echo "E: the reason" >&2; exit 3`)
	err := c.run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "E: the reason") || strings.Contains(err.Error(), "line 5\n") {
		t.Errorf("got %v", err)
	}
}

func TestChildLongLineIsCut(t *testing.T) {
	t.Parallel()
	w := &lineWriter{}
	for range 100 {
		fmt.Fprint(w, strings.Repeat("x", 1000))
	}
	w.end()
	if len(w.last) != 1 || len(w.last[0]) != maxLine {
		t.Errorf("%d lines, %d bytes", len(w.last), len(w.last[0]))
	}
}

// TestChildCancel ends a program together with one that it started and that holds its output.
func TestChildCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := script(t, `sleep 1000 & echo $! >&2; wait`)
	var started string
	c.line = func(l string) { started = l; cancel() }
	if err := c.run(ctx); !errors.Is(err, model.ErrCanceled) {
		t.Errorf("got %v", err)
	}
	if cmdline, err := os.ReadFile("/proc/" + started + "/cmdline"); err == nil && strings.HasPrefix(string(cmdline), "sleep\x001000") {
		t.Errorf("process %s of the program still runs", started)
	}
}

func TestConvertFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ script, want string }{
		"the program fails":          {`echo "E: no mirror" >&2; exit 1`, "E: no mirror"},
		"it fails within its stream": {`head -c 3000 /dev/zero | tr '\0' x; echo "E: died" >&2; exit 1`, ""},
		"its stream is no tar":       {`head -c 30000 /dev/zero | tr '\0' x`, "tar stream is broken"},
		"its stream never ends":      {`while :; do head -c 100000 /dev/zero | tr '\0' x; done`, "tar stream is broken"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := convert(t.Context(), filepath.Join(t.TempDir(), "x"), script(t, c.script), tarfilter.Rules{}, model.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestBootstrapProgress(t *testing.T) {
	t.Parallel()
	var got []string
	b := bootstrapProgress{report: func(p model.Progress) { got = append(got, fmt.Sprintf("%s %d/%d", p.Stage, p.Done, p.Total)) }}
	for _, line := range []string{
		"I: running apt-get update...", "Get:1 http://x", "I: installing remaining packages inside the chroot...",
		"0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.", "Get:1 x", "noise", "Unpacking x", "I: done",
	} {
		b.line(line)
	}
	want := "fetch the package lists 0/0|fetch the package lists 1/0|install the packages 0/0|install the packages 1/6|install the packages 2/6"
	if strings.Join(got, "|") != want {
		t.Errorf("got %q", got)
	}
}
