package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// jsonField finds what path (such as .a.b[0].c, .a.length, or . for the whole) names in a JSON document. A string comes without quotes,
// everything else as compact JSON.
func jsonField(document, path string) (string, error) {
	decoder := json.NewDecoder(strings.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return "", fmt.Errorf("not JSON: %w", err)
	}
	rest := strings.ReplaceAll(path, "[", ".[")
	for step := range strings.SplitSeq(rest, ".") {
		if step == "" {
			continue
		}
		next, err := jsonStep(value, step)
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		value = next
	}
	if text, ok := value.(string); ok {
		return text, nil
	}
	out, err := json.Marshal(value)
	return string(out), err
}

func jsonStep(value any, step string) (any, error) {
	switch v := value.(type) {
	case map[string]any:
		if field, ok := v[step]; ok {
			return field, nil
		}
		return nil, fmt.Errorf("there is no key %q", step)
	case []any:
		if step == "length" {
			return len(v), nil
		}
		i, err := strconv.Atoi(strings.Trim(step, "[]"))
		if err != nil || i < 0 || i >= len(v) {
			return nil, fmt.Errorf("a list of %d has no %s", len(v), step)
		}
		return v[i], nil
	}
	return nil, fmt.Errorf("%v has no %s", value, step)
}

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
