package crash

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPointsAreThoseOfTheSource holds the registry to the source, in both directions.
func TestPointsAreThoseOfTheSource(t *testing.T) {
	t.Parallel()
	points := Points()
	if !slices.IsSorted(points) {
		t.Error("Points is not sorted")
	}
	if len(slices.Compact(slices.Clone(points))) != len(points) {
		t.Error("Points lists a name twice")
	}
	called := map[string]string{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && name != "../.." && strings.HasPrefix(name, ".") && name != ".." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		return calls(t, path, called)
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, where := range called {
		if !slices.Contains(points, name) {
			t.Errorf("%s: the point %q is not in Points", where, name)
		}
	}
	for _, name := range points {
		if called[name] == "" {
			t.Errorf("the point %q is listed but nowhere reached", name)
		}
	}
}

func calls(t *testing.T, path string, called map[string]string) error {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "At" {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "crash" {
			return true
		}
		where := fset.Position(call.Pos()).String()
		lit, ok := call.Args[0].(*ast.BasicLit)
		if !ok {
			t.Errorf("%s: the name of a crash point is a literal, so that it can be found", where)
			return true
		}
		name, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Errorf("%s: %v", where, err)
		}
		if first, twice := called[name]; twice {
			t.Errorf("%s: the point %q is also at %s: a name means one place", where, name, first)
		}
		called[name] = where
		return true
	})
	return nil
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		armed, name string
		nth         int64
	}{
		{"", "", 1}, {"a.b", "a.b", 1}, {"a.b#3", "a.b", 3}, {"a.b#x", "a.b", 1}, {"a.b#0", "a.b", 1},
	} {
		if name, nth := parse(c.armed); name != c.name || nth != c.nth {
			t.Errorf("%q: %q, %d", c.armed, name, nth)
		}
	}
}
