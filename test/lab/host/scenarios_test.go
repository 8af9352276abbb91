package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseScenario(t *testing.T) {
	t.Parallel()
	s, err := parseScenario("fc_run", "# lab: minutes=12 user needs=firecracker\nexits 0 true\n")
	if err != nil || s.limit != 12*time.Minute || !s.user || s.needs != "firecracker" {
		t.Errorf("%+v, %v", s, err)
	}
	for name, text := range map[string]string{
		"empty": "", "no-mark": "exits 0 true\n", "no-minutes": "# lab: user\n", "none": "# lab: minutes=0\n",
		"much": "# lab: minutes=61\n", "word": "# lab: minutes=1 rooot\n", "needs": "# lab: minutes=1 needs=luck\n",
		"Name": "# lab: minutes=1\n", "a.b": "# lab: minutes=1\n", "line": "\n# lab: minutes=1\n",
	} {
		if s, err := parseScenario(name, text); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestScenarios(t *testing.T) {
	t.Parallel()
	names := func(files map[string]string, pattern string) string {
		dir := t.TempDir()
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name+".txtar"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		found, err := scenarios(dir, pattern)
		if err != nil {
			return "error: " + err.Error()
		}
		var all []string
		for _, s := range found {
			name := s.name
			if s.next != nil {
				name += "+" + s.next.name
			}
			all = append(all, name)
		}
		return strings.Join(all, " ")
	}
	good := map[string]string{
		"one": "# lab: minutes=1\n", "two": "# lab: minutes=1 reboot=three\n", "three": "# lab: minutes=1 after\n",
	}
	for pattern, want := range map[string]string{
		"": "one two+three", "two|three": "two+three", "^one$": "one", "three": "error", "none": "error", "(": "error",
	} {
		if got := names(good, pattern); got != want && (want != "error" || !strings.HasPrefix(got, want)) {
			t.Errorf("%q: %s, not %s", pattern, got, want)
		}
	}
	if got := names(map[string]string{"two": "# lab: minutes=1 reboot=one\n", "one": "# lab: minutes=1\n"}, ""); !strings.HasPrefix(got, "error") {
		t.Error("a scenario goes on with one of its own:", got)
	}
}

// TestTree parses the scenarios that there are.
func TestTree(t *testing.T) {
	t.Parallel()
	if _, err := scenarios(filepath.Join("..", "testdata"), ""); err != nil {
		t.Error(err)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	keep, err := newResults(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var live strings.Builder
	l := &log{name: "kvm", keep: keep, live: &live}
	if l.ran() {
		t.Error("it ran before it did")
	}
	for _, part := range []string{"=== RUN   TestScripts/kvm\n", "e2e: kvm: ex", "its 0\x1b[31m\nother\n"} {
		_, _ = l.Write([]byte(part))
	}
	if _, skipped := l.skipped(); skipped || !l.ran() || live.String() != "e2e: kvm: exits 0\n" {
		t.Errorf("skipped %v, ran %v, shown %q", skipped, l.ran(), live.String())
	}
	_, _ = l.Write([]byte("        > [!firecracker] skip 'no such thing'\n\n    --- SKIP: TestScripts/kvm (0.00s)\n"))
	if reason, skipped := l.skipped(); !skipped || reason != "no such thing" {
		t.Errorf("skipped %v: %q", skipped, reason)
	}
	if l.timedOut() {
		t.Error("it was ended before it was")
	}
	if _, _ = l.Write([]byte("panic: test timed out after 1m0s\n")); !l.timedOut() {
		t.Error("it is not seen that the test ended itself")
	}
	if kept, err := os.ReadFile(filepath.Join(keep.dir, "kvm.log")); err != nil || !strings.Contains(string(kept), "\x1b[31m\nother\n") {
		t.Errorf("%q, %v", kept, err)
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	for name, hostile := range map[string]string{
		"up": "../x", "below": "a/b", "hidden": ".x", "none": "", "option": "-x", "control": "a\nb", "long": strings.Repeat("x", 300),
	} {
		r, err := newResults(filepath.Join(cache, name))
		if err != nil {
			t.Fatal(err)
		}
		if r.add(hostile, []byte("x")); r.err == nil {
			t.Errorf("%q was taken", hostile)
		}
		if entries, err := os.ReadDir(r.dir); err != nil || len(entries) != 0 {
			t.Errorf("%q: %v, %v", hostile, entries, err)
		}
	}
	r, err := newResults(cache)
	if err != nil {
		t.Fatal(err)
	}
	r.add("kvm.log", []byte("one "))
	r.add("kvm.log", []byte("two"))
	if text, err := os.ReadFile(filepath.Join(r.dir, "kvm.log")); err != nil || r.err != nil || string(text) != "one two" {
		t.Errorf("%q, %v, %v", text, err, r.err)
	}
	r.bytes = maxResults
	if r.add("kvm.log", []byte("more")); r.err == nil {
		t.Error("there is no end to it")
	}
}

func TestOldResultsGo(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	for range keptRuns + 3 {
		if _, err := newResults(cache); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(cache, "results", "*"))
	if err != nil || len(left) != keptRuns {
		t.Errorf("%d runs are left: %v", len(left), err)
	}
}
