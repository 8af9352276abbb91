// Package crash names the points at which tests kill the process.
//
// There is one point before each durable or host-visible effect of a long operation, one after it, and Points lists them
// all, so that a test can walk every one. Only a build with the crash tag can be armed; in any other At is empty.
package crash

import (
	"strconv"
	"strings"
)

// Points lists the name of every call of At in banger, sorted. A test compares it with the source.
func Points() []string {
	return []string{
		"qcow2.create.after",
		"qcow2.create.before",
		"qcow2.remove.after",
		"qcow2.remove.before",
		"store.create.after",
		"store.create.before",
		"workdisk.create.after",
		"workdisk.create.before",
		"workdisk.remove.after",
		"workdisk.remove.before",
	}
}

// parse splits name#n; n is 1 when it is not given or not a number.
func parse(armed string) (name string, nth int64) {
	name, count, ok := strings.Cut(armed, "#")
	if n, err := strconv.ParseInt(count, 10, 64); ok && err == nil && n > 0 {
		return name, n
	}
	return name, 1
}
