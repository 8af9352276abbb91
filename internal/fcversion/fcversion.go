// Package fcversion knows which releases of Firecracker banger takes.
package fcversion

import (
	"regexp"
	"slices"
	"strconv"

	"banger/internal/model"
)

// version is major, minor, patch.
type version [3]int

var (
	oldest = version{1, 14, 4}
	// refused are later versions with a known hole (CVE-2026-5747, mended in 1.14.4 and 1.15.1).
	refused = []version{{1, 15, 0}}
	pattern = regexp.MustCompile(`^(Firecracker|Jailer) v((\d{1,4})\.(\d{1,4})\.(\d{1,4})[0-9A-Za-z.+~-]{0,60})`)
)

// Wanted says what to install.
const Wanted = "install a release >= 1.14.4 that is not 1.15.0, see docs/firecracker.md"

// The programs of a release, as they name themselves.
const (
	Firecracker = "Firecracker"
	Jailer      = "Jailer"
)

// Of reads what the program at path, which should be the named one, said of its version. The error is a line for the
// user: it is another program, or a release with known holes.
func Of(path, name, said string) (string, error) {
	m := pattern.FindStringSubmatch(said)
	if m == nil || m[1] != name {
		return "", model.Errorf(model.ErrUnsupported, "%s is not %s: it says %q for its version", path, name, said[:min(len(said), 80)])
	}
	var v version
	for i := range v {
		v[i], _ = strconv.Atoi(m[i+3]) // the pattern lets only short numbers through
	}
	switch {
	case slices.Compare(v[:], oldest[:]) < 0:
		return "", model.Errorf(model.ErrUnsupported, "%s %s is too old: it has known holes; %s", name, m[2], Wanted)
	case slices.Contains(refused, v):
		return "", model.Errorf(model.ErrUnsupported, "%s %s has a known hole; %s", name, m[2], Wanted)
	}
	return m[2], nil
}
