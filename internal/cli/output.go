package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"banger/internal/model"
)

// writeJSON prints v as programs like it: two spaces of indent, a newline at the end, no HTML escapes.
func (a *app) writeJSON(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	return a.write(b.Bytes())
}

// writeTable prints rows under a header.
func (a *app) writeTable(header []string, rows [][]string) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 8, 3, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		fmt.Fprintln(t, strings.Join(safeCells(row), "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return a.write(b.Bytes())
}

// writeFields prints one thing, a line for each of its fields.
func (a *app) writeFields(fields [][2]string) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, f := range fields {
		fmt.Fprintf(t, "%s:\t%s\n", f[0], safeLine(f[1]))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return a.write(b.Bytes())
}

// writeNames prints one name a line, for other programs' arguments.
func (a *app) writeNames(names []string) error {
	if len(names) == 0 {
		return nil
	}
	return a.write([]byte(strings.Join(safeCells(names), "\n") + "\n"))
}

func (a *app) write(data []byte) error {
	if _, err := a.Out.Write(data); err != nil {
		return fmt.Errorf("cannot write the output: %w", err)
	}
	return nil
}

func safeCells(cells []string) []string {
	safe := make([]string, len(cells))
	for i, c := range cells {
		safe[i] = safeLine(c)
	}
	return safe
}

// age writes how long ago t was, as docker does.
func age(now, t time.Time) string {
	d := now.Sub(t)
	for _, u := range []struct {
		size time.Duration
		name string
	}{{365 * 24 * time.Hour, "year"}, {30 * 24 * time.Hour, "month"}, {7 * 24 * time.Hour, "week"}, {24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := int(d / u.size); n > 1 {
			return fmt.Sprintf("%d %ss ago", n, u.name)
		} else if n == 1 {
			return "1 " + u.name + " ago"
		}
	}
	return "just now"
}

func moment(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.Local().Format(time.RFC3339)
}

func size(bytes int64) string { return model.FormatSize(bytes) }

// shortID is the part of an id or digest that people see; commands take it as a prefix.
func shortID(id string) string { return id[:min(8, len(id))] }

func shortDigest(digest string) string { return model.Digest(digest).Short() }
