package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"banger/internal/cli"
)

// cliPages writes or checks the reference of the command line, a page per command.
func cliPages(dir string, check bool) error {
	if !check {
		return cli.Docs(dir)
	}
	fresh, err := os.MkdirTemp("", "cli-docs")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh) //nolint:errcheck // a temporary directory
	if err := cli.Docs(fresh); err != nil {
		return err
	}
	errs := []error{samePages(fresh, dir)}
	// The other way round a page of a command that is no more shows.
	return errors.Join(append(errs, samePages(dir, fresh))...)
}

// samePages requires each page of one directory in the other, with the same text.
func samePages(in, other string) error {
	pages, err := filepath.Glob(filepath.Join(in, "*.md"))
	if err != nil {
		return err
	}
	var errs []error
	for _, page := range pages {
		name := filepath.Base(page)
		want, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(other, name))
		if err != nil || string(got) != string(want) {
			errs = append(errs, fmt.Errorf("docs/cli/%s is not what the code says: make generate", name))
		}
	}
	return errors.Join(errs...)
}
