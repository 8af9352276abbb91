package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, events string
		failed       bool
		shows        []string
		hides        []string
		skips        string
	}{
		{
			name: "a pass is short",
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":1.5}
`,
			shows: []string{"ok    p  1.5s", "unit: 1 tests passed, 0 were not run"},
			hides: []string{"noise"},
		},
		{
			name: "a failure is whole",
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}
`,
			failed: true,
			shows:  []string{"FAIL  p TestA\n    a_test.go:3: wrong\n"},
		},
		{
			name: "a skip gives its reason",
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: dmsetup is missing\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
`,
			skips: "unit TestA: dmsetup is missing\n",
		},
		{
			name: "a build that fails is a failure",
			events: `{"Action":"build-output","ImportPath":"p","Output":"p.go:1: undefined\n"}
{"Action":"build-fail","ImportPath":"p"}
`,
			failed: true,
			shows:  []string{"p.go:1: undefined"},
		},
		{
			name:   "preparation and long tests are seen",
			events: `{"Action":"output","Package":"p","Output":"e2e: building\n"}` + "\n" + `{"Action":"pass","Package":"p","Test":"TestScripts/run","Elapsed":12}` + "\n",
			shows:  []string{"e2e: building\n", "ok    TestScripts/run  12.0s"},
		},
		{
			name:   "what the go command says is passed on",
			events: "go: cannot find main module\n",
			failed: true,
			shows:  []string{"go: cannot find main module"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			r := report{tier: "unit", out: &out, output: map[string]*strings.Builder{}}
			if err := r.read(strings.NewReader(c.events)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "notrun")
			if err := r.writeSkips(path); err != nil {
				t.Fatal(err)
			}
			skips, _ := os.ReadFile(path) // absent when nothing was skipped
			if r.failed != c.failed || string(skips) != c.skips {
				t.Errorf("failed %v, skips %q", r.failed, skips)
			}
			for _, text := range c.shows {
				if !strings.Contains(out.String(), text) {
					t.Errorf("%q is not shown:\n%s", text, out.String())
				}
			}
			for _, text := range c.hides {
				if strings.Contains(out.String(), text) {
					t.Errorf("%q is shown:\n%s", text, out.String())
				}
			}
		})
	}
}
