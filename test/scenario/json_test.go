package scenario

import (
	"strings"
	"testing"
)

func TestJSONField(t *testing.T) {
	t.Parallel()
	const document = `{"a":{"b":[{"c":"x y"},{"c":9007199254740993}]},"n":null,"e":[]}`
	for _, c := range []struct{ path, want, problem string }{
		{path: ".a.b[0].c", want: "x y"},
		{path: ".a.b[1].c", want: "9007199254740993"},
		{path: ".a.b.length", want: "2"},
		{path: ".n", want: "null"},
		{path: ".e", want: "[]"},
		{path: ".e[0]", problem: "a list of 0 has no [0]"},
		{path: ".zz", problem: `there is no key "zz"`},
		{path: ".a.b[0].c.d", problem: "x y has no d"},
	} {
		got, err := jsonField(document, c.path)
		switch {
		case c.problem == "" && (err != nil || got != c.want):
			t.Errorf("%s: got %q, %v; want %q", c.path, got, err, c.want)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
			t.Errorf("%s: got %q, %v; want an error that says %q", c.path, got, err, c.problem)
		}
	}
	if _, err := jsonField("{", "."); err == nil {
		t.Error("half a document was taken for JSON")
	}
}
