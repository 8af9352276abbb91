package main

import (
	"fmt"
	"os"
	"strings"
)

// dependencies checks that the document names every module that go.mod requires directly. Reasons and licenses are
// written by people.
func dependencies(gomod, document string) error {
	mod, err := os.ReadFile(gomod)
	if err != nil {
		return err
	}
	page, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	var missing []string
	for line := range strings.Lines(string(mod)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		direct := len(fields) == 2 && strings.HasPrefix(fields[1], "v")
		if direct && !strings.Contains(string(page), "| "+fields[0]+" |") {
			missing = append(missing, fields[0])
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s has no row for %s", document, strings.Join(missing, ", "))
	}
	return nil
}
