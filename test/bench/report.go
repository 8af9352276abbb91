package main

import (
	"fmt"
	"os"
	"strings"
)

// result is one measured line, with what stands below the table about it.
type result struct {
	what, floor, target string
	floorTime, product  string
	median, worst, met  string
	notes               []string // lines of Markdown
}

func report(conditions []string, results []result) string {
	var b strings.Builder
	for _, c := range conditions {
		fmt.Fprintf(&b, "- %s\n", c)
	}
	b.WriteString("\n| what | floor | floor took | banger took | ratio, median of pairs | worst pair | to reach | reached |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n",
			r.what, r.floor, r.floorTime, r.product, r.median, r.worst, r.target, r.met)
	}
	for _, r := range results {
		if len(r.notes) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n**%s**\n\n", r.what)
		for _, line := range r.notes {
			fmt.Fprintln(&b, line)
		}
	}
	return b.String()
}

// The table in a document stands between these.
const (
	beginMark = "<!-- bench: begin -->\n"
	endMark   = "<!-- bench: end -->\n"
)

// publish replaces the table in a document.
func publish(path, text string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(raw), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("cannot publish in %s: it has no %q and %q", path, strings.TrimSpace(beginMark), strings.TrimSpace(endMark))
	}
	return os.WriteFile(path, []byte(before+beginMark+"\n"+text+"\n"+endMark+after), 0o644)
}
