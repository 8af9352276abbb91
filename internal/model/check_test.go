package model

import (
	"errors"
	"fmt"
	"os/exec"
	"testing"
)

func TestAnErrorThatCanBeMendedSaysHow(t *testing.T) {
	t.Parallel()
	bare := Fixable(ErrDenied, "chmod 700 x", "cannot use %s: its mode is %#o", "x", 0o755)
	for name, err := range map[string]error{
		"bare":     bare,
		"wrapped":  Errorf(ErrUnavailable, "cannot start: %w", bare),
		"by host":  HostErrorf(bare, "cannot start"),
		"plainly":  fmt.Errorf("cannot start: %w", bare),
		"by a fix": Fixable(ErrState, "", "cannot start: %w", bare),
	} {
		what, fix := Remedy(err)
		if fix != "chmod 700 x" || what+"; run: "+fix != err.Error() {
			t.Errorf("%s: %q, %q of %v", name, what, fix, err)
		}
	}
	if !errors.Is(bare, ErrDenied) {
		t.Error("it has lost its kind")
	}
	for _, err := range []error{Errorf(ErrDenied, "cannot; run: it"), errors.New("x")} {
		if what, fix := Remedy(err); what != err.Error() || fix != "" {
			t.Errorf("%v: %q, %q", err, what, fix)
		}
	}
}

func TestCheckOf(t *testing.T) {
	t.Parallel()
	if c := CheckOf("x", nil, "fine"); c != (Check{Name: "x", Status: CheckOK, Detail: "fine"}) {
		t.Errorf("%+v", c)
	}
	bad := CheckOf("x", Fixable(ErrDenied, "do", "cannot\n\tsee"), "fine")
	if bad != (Check{Name: "x", Status: CheckProblem, Detail: "cannot see", Fix: "do"}) {
		t.Errorf("%+v", bad)
	}
	if c := bad.AtMost(CheckWarning); c.Status != CheckWarning || c.Fix != "do" {
		t.Errorf("%+v", c)
	}
	if c := CheckOf("x", nil, "").AtMost(CheckWarning); c.Status != CheckOK {
		t.Errorf("%+v", c)
	}
	able := Diagnosis{Checks: []Check{CheckOf("x", nil, ""), bad.AtMost(CheckWarning)}}
	if !able.Able() || (Diagnosis{Checks: []Check{bad}}).Able() {
		t.Error("a problem, and nothing else, keeps VMs from running")
	}
}

func TestShellWord(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"", "/home/me/.local", "a b", "it's", `$HOME "x" \ ;`, "é\n", "*"} {
		out, err := exec.Command("sh", "-c", "printf %s "+ShellWord(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q is written %s, which a shell reads as %q, %v", word, ShellWord(word), out, err)
		}
	}
}
