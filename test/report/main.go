// Command report turns the events of `go test -json` into short lines for people: what failed in full, each package in
// one line, and in a file of their own the tests that were skipped with the reason they gave.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	tier := flag.String("tier", "", "what to call these tests")
	notRun := flag.String("notrun", "", "the file to which skipped tests and their reasons are added")
	flag.Parse()
	r := report{tier: *tier, out: os.Stdout, output: map[string]*strings.Builder{}}
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "cannot read the test events:", err)
		os.Exit(1)
	}
	if err := r.writeSkips(*notRun); err != nil {
		fmt.Fprintln(os.Stderr, "cannot record the skipped tests:", err)
		os.Exit(1)
	}
	if r.failed {
		os.Exit(1)
	}
}

// progressMark begins the lines that a tier says while it prepares; they are shown at once.
const progressMark = "e2e: "

// longSeconds is from when on a passed test gets a line of its own, so that a long tier is seen to move.
const longSeconds = 5

// event is one line of `go test -json` (go doc test2json), with the fields that matter here.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

type report struct {
	tier   string
	out    io.Writer
	output map[string]*strings.Builder // what each running test has said
	skips  []string
	failed bool
	passed int
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) == nil:
			r.add(e)
		default: // the go command itself has something to say
			r.failed = true
			fmt.Fprintf(r.out, "%s", line)
		}
		if err == io.EOF {
			fmt.Fprintf(r.out, "%s: %d tests passed, %d were not run\n", r.tier, r.passed, len(r.skips))
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) add(e event) {
	key := e.Package + e.ImportPath + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		if r.output[key] == nil {
			r.output[key] = &strings.Builder{}
		}
		r.output[key].WriteString(e.Output)
		if strings.HasPrefix(e.Output, progressMark) {
			fmt.Fprint(r.out, e.Output)
		}
		return
	case "pass":
		if e.Test != "" {
			r.passed++
			if e.Elapsed >= longSeconds {
				fmt.Fprintf(r.out, "ok    %s  %.1fs\n", e.Test, e.Elapsed)
			}
		} else {
			fmt.Fprintf(r.out, "ok    %s  %.1fs\n", e.Package, e.Elapsed)
		}
	case "skip":
		if e.Test != "" {
			r.skips = append(r.skips, fmt.Sprintf("%s %s: %s", r.tier, e.Test, reason(r.said(key))))
		}
	case "fail", "build-fail":
		r.failed = true
		fmt.Fprintf(r.out, "FAIL  %s %s\n%s", e.Package+e.ImportPath, e.Test, r.said(key))
	default:
		return
	}
	delete(r.output, key)
}

func (r *report) said(key string) string {
	if b := r.output[key]; b != nil {
		return b.String()
	}
	return ""
}

// reason finds what t.Skip was given in what a test printed: `    file_test.go:12: reason`.
func reason(output string) string {
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if _, text, ok := strings.Cut(line, ".go:"); ok {
			if _, text, ok = strings.Cut(text, ": "); ok {
				return text
			}
		}
	}
	return "it gave no reason"
}

func (r *report) writeSkips(path string) error {
	if path == "" || len(r.skips) == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintln(f, strings.Join(r.skips, "\n"))
	return err
}
