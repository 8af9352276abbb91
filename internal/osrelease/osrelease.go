// Package osrelease tells which distribution the host is.
package osrelease

import (
	"bufio"
	"os"
	"strings"
)

// Read returns the fields of the host's os-release(5). A host without one has none.
func Read() map[string]string {
	fields := map[string]string{}
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			if name, value, ok := strings.Cut(lines.Text(), "="); ok {
				fields[name] = strings.Trim(value, `"'`)
			}
		}
		break
	}
	return fields
}
