package doctor

import (
	"banger/internal/model"
	"banger/internal/userns"
)

// Namespaces says whether this user may have namespaces of its own. Images are built in them without root, and a VMM that
// knows only taps runs in them.
func Namespaces() model.Check {
	return model.CheckOf("user-namespaces", userns.Try(), "you may have them").AtMost(model.CheckWarning)
}
