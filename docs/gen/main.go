// Command gen writes the generated parts of the documents, or with -check tells which are not what the code says.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	check := flag.Bool("check", false, "write nothing; fail when a document is out of date")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run writes or checks each generated part. The paths are relative to the module's root.
func run(check bool) error {
	return errors.Join(
		block("docs/architecture.md", "states", stateDiagram(), check),
		dependencies("go.mod", "docs/dependencies.md"),
		cliPages("docs/cli", check),
	)
}

// block replaces what stands between <!-- name --> and <!-- /name --> in a document.
func block(path, name, text string, check bool) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	begin, end := []byte("<!-- "+name+" -->\n"), []byte("<!-- /"+name+" -->")
	before, rest, ok := bytes.Cut(old, begin)
	_, after, closed := bytes.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s has no block %q to generate", path, name)
	}
	return write(path, bytes.Join([][]byte{before, begin, []byte(text), end, after}, nil), check)
}

// write stores a generated file, or when checking compares it.
func write(path string, data []byte, check bool) error {
	old, err := os.ReadFile(path)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case err == nil && bytes.Equal(old, data):
		return nil
	case check:
		return fmt.Errorf("%s is not what the code says: make generate", path)
	}
	return os.WriteFile(path, data, 0o644)
}
