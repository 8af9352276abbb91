package main

import (
	"io"
	"regexp"
	"strings"
)

// log takes what a scenario says: it goes to a file of the results, and its progress to whoever looks on.
type log struct {
	name string
	keep *results
	live io.Writer
	all  strings.Builder
	line string // the beginning of one
}

const maxLog = 4 << 20 // of what is kept in memory to be shown

// progressMark begins the lines that are shown at once.
const progressMark = "e2e: "

func (l *log) Write(p []byte) (int, error) {
	l.keep.add(l.name+".log", p)
	if l.all.Len() < maxLog {
		l.all.Write(p)
	}
	l.line += string(p)
	for {
		line, rest, found := strings.Cut(l.line, "\n")
		if !found {
			break
		}
		l.line = rest
		if strings.HasPrefix(line, progressMark) {
			_, _ = io.WriteString(l.live, printable(line)+"\n")
		}
	}
	l.line = l.line[:min(len(l.line), 64<<10)]
	return len(p), nil
}

func (l *log) text() string { return printable(l.all.String()) }

// ran says whether the test program has found the scenario.
func (l *log) ran() bool {
	return strings.Contains(l.all.String(), "=== RUN   TestScripts/"+l.name+"\n")
}

// timedOut says whether the test program has ended itself, because the scenario took too long.
func (l *log) timedOut() bool {
	return strings.Contains(l.all.String(), "\npanic: test timed out after ")
}

// skipping is a script's line that ends it without having run, as its log has it.
var skipping = regexp.MustCompile(`(?m)^\s*> (?:\[.*\] )?skip '?(.*?)'?\s*$`)

// skipped says whether the scenario was skipped, and the reason.
func (l *log) skipped() (string, bool) {
	text := l.all.String()
	if !strings.Contains(text, "--- SKIP: TestScripts/"+l.name) {
		return "", false
	}
	if said := skipping.FindAllStringSubmatch(text, -1); len(said) > 0 {
		return printable(said[len(said)-1][1]), true
	}
	return "it gave no reason", true
}

// escapes are sequences that a terminal obeys.
var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]|\x1b[A-Z]|\r`)

// printable leaves out what a terminal would obey.
func printable(text string) string {
	text = escapes.ReplaceAllString(text, "")
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, text)
}
