package model

import "strings"

// CheckStatus says how bad it is what a Check found.
type CheckStatus string

// The statuses.
const (
	CheckOK      CheckStatus = "ok"
	CheckWarning CheckStatus = "warning" // a VM can run, but not as it should
	CheckProblem CheckStatus = "problem" // no VM can run here
)

// Check is one thing that was looked at on a host, for people and for programs.
type Check struct {
	Name   string      `json:"name"` // never changes, for programs
	Status CheckStatus `json:"status"`
	Detail string      `json:"detail"` // one line
	Fix    string      `json:"fix"`    // the command that mends it, or ""
}

// CheckOf is the Check that an error makes, or, without one, the detail that all is well.
func CheckOf(name string, err error, detail string) Check {
	if err == nil {
		return Check{Name: name, Status: CheckOK, Detail: detail}
	}
	what, fix := Remedy(err)
	return Check{Name: name, Status: CheckProblem, Detail: strings.Join(strings.Fields(what), " "), Fix: fix}
}

// AtMost returns c with a status that is no worse than most.
func (c Check) AtMost(most CheckStatus) Check {
	if c.Status == CheckProblem {
		c.Status = most
	}
	return c
}

// Leak is one thing of banger's on a host that no VM accounts for.
type Leak struct {
	Kind string `json:"kind"` // process, socket, directory, file, row, handles, name, port, lock, jail or device
	What string `json:"what"` // its path, number, name or id
	Why  string `json:"why"`
}

func (l Leak) String() string { return l.Kind + " " + l.What + ": " + l.Why }

// Diagnosis is what was found out of a host.
type Diagnosis struct {
	Version string  `json:"version"` // of the program that looked
	Checks  []Check `json:"checks"`
	Leaks   []Leak  `json:"leaks"` // nil when nobody asked for them
}

// Able says whether nothing keeps a VM from running.
func (d Diagnosis) Able() bool {
	for _, c := range d.Checks {
		if c.Status == CheckProblem {
			return false
		}
	}
	return true
}
