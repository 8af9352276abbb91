package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func names(groups []group) string {
	var all []string
	for _, g := range groups {
		text := g.name
		for _, r := range g.rows {
			text += " " + r.name
		}
		if g.whole {
			text += " whole"
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

func TestChoose(t *testing.T) {
	t.Parallel()
	for bench, want := range map[string]string{
		"":                        "vm run exec list delete idle memory hog whole; work copy copysmall network latency watching convert pullagain whole; disk overlay overlayread overlaycache whole; host bridge whole",
		"work":                    "work copy copysmall network latency watching convert pullagain whole",
		"bridge":                  "host bridge whole",
		"lab":                     "lab firecracker jailed snapshot whole",
		"snapshot,exec":           "vm exec; lab snapshot",
		"latency,run,network":     "vm run; work network latency",
		"vm,copy":                 "vm run exec list delete idle memory hog whole; work copy",
		"run,exec,list,delete":    "vm run exec list delete",
		"hog,memory,idle,vm,hog":  "vm run exec list delete idle memory hog whole",
		"run,exec,list,delete,no": "",
		"run,":                    "",
	} {
		got, err := choose(bench)
		if (err != nil) != (want == "") || names(got) != want {
			t.Errorf("BENCH=%s: %q, %v", bench, names(got), err)
		}
	}
}

const twoTables = "a\n<!-- bench vm: begin -->\nold vm\n<!-- bench vm: end -->\nb\n<!-- bench work: begin -->\nold work\n<!-- bench work: end -->\nc\n"

func TestPublishReplacesOneGroup(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte(twoTables), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := publish(path, group{name: "work", whole: true}, "new\n"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	want := strings.Replace(twoTables, "old work\n", "\nnew\n\n", 1)
	if err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
}

func TestPublishable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "doc.md")
	document := strings.Replace(twoTables, "<!-- bench work: end -->", "", 1)
	if err := os.WriteFile(path, []byte(document), 0o644); err != nil {
		t.Fatal(err)
	}
	for bench, want := range map[string]string{
		"vm":          "",
		"vm,copy":     "", // work is not whole, and so not published
		"run,exec":    "as a whole",
		"work":        "bench work: end",
		"vm,work,run": "bench work: end",
	} {
		groups, err := choose(bench)
		if err != nil {
			t.Fatal(err)
		}
		err = publishable(path, groups)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("BENCH=%s: %v", bench, err)
		}
	}
}

// The document in the repository has a place for each group.
func TestDocument(t *testing.T) {
	t.Parallel()
	groups, err := choose("")
	if err != nil {
		t.Fatal(err)
	}
	if err := publishable("../../docs/performance.md", groups); err != nil {
		t.Error(err)
	}
}
