package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Docs writes the reference of the command line to dir, a Markdown page per command, and removes pages of commands that
// are no more. The same commands make the same bytes.
func Docs(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	stale, err := filepath.Glob(filepath.Join(dir, "banger*.md"))
	if err != nil {
		return err
	}
	for _, page := range stale {
		if err := os.Remove(page); err != nil {
			return err
		}
	}
	return writePages(dir, newRoot(newApp(Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})))
}

func writePages(dir string, cmd *cobra.Command) error {
	cmd.InitDefaultHelpFlag()
	if err := os.WriteFile(filepath.Join(dir, pageName(cmd)), []byte(page(cmd)), 0o644); err != nil {
		return err
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			if err := writePages(dir, sub); err != nil {
				return err
			}
		}
	}
	return nil
}

func pageName(cmd *cobra.Command) string {
	return strings.ReplaceAll(cmd.CommandPath(), " ", "_") + ".md"
}

func page(cmd *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", cmd.CommandPath())
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	fmt.Fprintf(&b, "%s\n", fenced(about))
	if cmd.Runnable() && !cmd.HasSubCommands() {
		fmt.Fprintf(&b, "\n```\n%s\n```\n", cmd.UseLine())
	}
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(&b, "\nAlso called: `%s`.\n", strings.Join(cmd.Aliases, "`, `"))
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\n## Examples\n\n```\n%s\n```\n", strings.TrimRight(cmd.Example, "\n"))
	}
	flags(&b, "Flags", cmd.NonInheritedFlags())
	flags(&b, "Global flags", cmd.InheritedFlags())
	links(&b, cmd)
	return b.String()
}

// fenced keeps the indented part of a text as it stands.
func fenced(text string) string {
	lines := strings.Split(text, "\n")
	var out []string
	inside := false
	for _, line := range lines {
		if indented := strings.HasPrefix(line, "  "); indented != inside {
			out, inside = append(out, "```"), indented
		}
		out = append(out, line)
	}
	if inside {
		out = append(out, "```")
	}
	return strings.Join(out, "\n")
}

func flags(b *strings.Builder, title string, set *pflag.FlagSet) {
	if set.HasAvailableFlags() {
		fmt.Fprintf(b, "\n## %s\n\n```\n%s```\n", title, set.FlagUsages())
	}
}

func links(b *strings.Builder, cmd *cobra.Command) {
	var lines []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			lines = append(lines, fmt.Sprintf("- [%s](%s): %s", sub.CommandPath(), pageName(sub), sub.Short))
		}
	}
	if cmd.HasParent() {
		lines = append(lines, fmt.Sprintf("- [%s](%s): %s", cmd.Parent().CommandPath(), pageName(cmd.Parent()), cmd.Parent().Short))
	}
	fmt.Fprintf(b, "\n## See also\n\n%s\n", strings.Join(lines, "\n"))
}
