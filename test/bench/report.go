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

// The table of a group stands between these in a document.
func (g group) beginMark() string { return "<!-- bench " + g.name + ": begin -->" }
func (g group) endMark() string   { return "<!-- bench " + g.name + ": end -->" }

// publishable says, before anything is measured, whether its outcome has a place.
func publishable(path string, groups []group) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	whole := 0
	for _, g := range groups {
		if g.whole {
			whole++
			if _, err := g.replace(string(raw), ""); err != nil {
				return fmt.Errorf("cannot publish in %s: %w", path, err)
			}
		}
	}
	if whole == 0 {
		return fmt.Errorf("cannot publish in %s: BENCH leaves rows of every group out, and a table is replaced as a whole", path)
	}
	return nil
}

// publish replaces a group's table in a document.
func publish(path string, g group, text string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	document, err := g.replace(string(raw), text)
	if err != nil {
		return fmt.Errorf("cannot publish in %s: %w", path, err)
	}
	return os.WriteFile(path, []byte(document), 0o644)
}

func (g group) replace(document, text string) (string, error) {
	before, rest, ok := strings.Cut(document, g.beginMark()+"\n")
	_, after, ok2 := strings.Cut(rest, g.endMark()+"\n")
	if !ok || !ok2 {
		return "", fmt.Errorf("it has no %q and %q", g.beginMark(), g.endMark())
	}
	return before + g.beginMark() + "\n\n" + text + "\n" + g.endMark() + "\n" + after, nil
}
