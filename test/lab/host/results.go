package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"
)

const (
	maxResults = 1 << 30 // of all files of a run together
	maxFiles   = 20_000
	keptRuns   = 20
)

// results is the one directory of the host that the lab's words reach.
type results struct {
	dir   string
	root  *os.Root
	seen  map[string]bool
	bytes int64
	err   error // the first one
}

// newResults makes the directory of this run, and removes those of runs long past.
func newResults(cache string) (*results, error) {
	parent := filepath.Join(cache, "results")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	old, _ := filepath.Glob(filepath.Join(parent, "run-*"))
	sort.Strings(old)
	for _, dir := range old[:max(0, len(old)-keptRuns+1)] {
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(parent, "run-"+time.Now().UTC().Format("20060102-150405.000000"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &results{dir: dir, root: root, seen: map[string]bool{}}, nil
}

var fileName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$`)

// add adds to a file whose name the lab chose.
func (r *results) add(name string, data []byte) {
	if r.err != nil {
		return
	}
	r.bytes += int64(len(data))
	switch {
	case !fileName.MatchString(name):
		r.err = fmt.Errorf("the lab sent a file with the name %q", name)
	case r.bytes > maxResults || len(r.seen) > maxFiles:
		r.err = fmt.Errorf("the lab sent more than %d bytes or %d files", maxResults, maxFiles)
	}
	if r.err != nil {
		return
	}
	r.seen[name] = true
	file, err := r.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, err = file.Write(data)
		err = errors.Join(err, file.Close())
	}
	r.err = err
}

// coverage lists the files with coverage data.
func (r *results) coverage() []string {
	var found []string
	for name := range r.seen {
		if strings.HasPrefix(name, "covmeta.") || strings.HasPrefix(name, "covcounters.") {
			found = append(found, filepath.Join(r.dir, name))
		}
	}
	return found
}
