package model_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"banger/internal/model"
)

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"512M": 512 * model.MiB, "4GiB": 4 * model.GiB, "4gib": 4 * model.GiB, "1.5g": 3 * model.GiB / 2, "8G": 8 * model.GiB,
		"1073741824": model.GiB, "1T": model.TiB, "64 MB": 64 * model.MiB, "1024b": 1024, " 2k ": 2048,
	} {
		if got, err := model.ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "1e9G", "G", "1X", "1.2.3G", "0x10", "99999999999T", "1G2", "٤G", "inf", "nan", "0.1"} {
		if got, err := model.ParseSize(text); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("ParseSize(%q) = %d, %v; want ErrInvalid", text, got, err)
		}
	}
}

func TestFormatSize(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int64]string{0: "0 B", 1023: "1023 B", model.KiB: "1 KiB", 3 * model.GiB / 2: "1.5 GiB", 8 * model.TiB: "8 TiB"} {
		if got := model.FormatSize(bytes); got != want {
			t.Errorf("FormatSize(%d) = %q, want %q", bytes, got, want)
		}
	}
}

func TestValidateName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "box", "box-1", "0", strings.Repeat("a", 63)} {
		if err := model.ValidateName("VM", name); err != nil {
			t.Errorf("%q is refused: %v", name, err)
		}
	}
	for _, name := range []string{"", "-a", "a-", "A", "a_b", "a.b", "a b", "a\n", "ä", "../x", strings.Repeat("a", 64), "a,b", "\x1b[31m"} {
		if err := model.ValidateName("VM", name); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%q gives %v, want ErrInvalid", name, err)
		} else if strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("the error repeats control characters: %q", err)
		}
	}
	for range 200 {
		if err := model.ValidateName("VM", model.RandomName()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStatesAndTheirTable(t *testing.T) {
	t.Parallel()
	for _, s := range model.States() {
		parsed, ok := model.ParseState(s.String())
		if !ok || parsed != s {
			t.Errorf("ParseState(%q) = %v, %v", s, parsed, ok)
		}
		if s != model.StateDeleting && !s.CanBecome(model.StateDeleting) {
			t.Errorf("a VM that is %s cannot be deleted", s)
		}
		if s == model.StateDeleting && len(s.Next()) != 0 {
			t.Error("a deletion can be undone")
		}
		if !s.AtRest() && s != model.StateDeleting && len(s.Next()) < 2 {
			t.Errorf("%s can neither succeed nor fail", s)
		}
	}
	for _, name := range []string{"", "invalid", "Running"} {
		if _, ok := model.ParseState(name); ok {
			t.Errorf("%q is a state", name)
		}
	}
}

func TestErrorsCarryKindAndCause(t *testing.T) {
	t.Parallel()
	err := model.Errorf(model.ErrCorrupt, "cannot read it: %w", fs.ErrPermission)
	if !errors.Is(err, model.ErrCorrupt) || !errors.Is(err, fs.ErrPermission) || model.KindOf(err) != model.ErrCorrupt {
		t.Errorf("%v lost its kind or cause", err)
	}
	if model.KindOf(errors.New("x")) != nil {
		t.Error("an unknown error has a kind")
	}
}

func TestSpecValidate(t *testing.T) {
	t.Parallel()
	good := model.Spec{VCPUs: 1, MemoryBytes: model.GiB, DiskBytes: model.GiB, Network: "none"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*model.Spec){
		"no vCPU":        func(s *model.Spec) { s.VCPUs = 0 },
		"negative vCPUs": func(s *model.Spec) { s.VCPUs = -1 },
		"many vCPUs":     func(s *model.Spec) { s.VCPUs = 65 },
		"little memory":  func(s *model.Spec) { s.MemoryBytes = model.MiB },
		"no disk":        func(s *model.Spec) { s.DiskBytes = 0 },
		"network":        func(s *model.Spec) { s.Network = "lan" },
		"env":            func(s *model.Spec) { s.Env = []string{"novalue"} },
		"workdir":        func(s *model.Spec) { s.Workdir = "relative" },
		"user":           func(s *model.Spec) { s.User = "a b" },
	} {
		s := good
		change(&s)
		if err := s.Validate(); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%s gives %v, want ErrInvalid", name, err)
		}
	}
}

func TestExecSpecValidate(t *testing.T) {
	t.Parallel()
	for name, argv := range map[string][]string{
		"nothing": nil, "empty": {""}, "NUL": {"a", "b\x00"}, "too long": {"a", strings.Repeat("x", int(model.MaxArgvBytes))},
	} {
		if err := (model.ExecSpec{Argv: argv}).Validate(); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%s gives %v, want ErrInvalid", name, err)
		}
	}
	if err := (model.ExecSpec{Argv: []string{"printf", "", " ", "a\nb", strings.Repeat("y", 100_000)}}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestJoinSerials(t *testing.T) {
	t.Parallel()
	for join, want := range map[model.Join][]string{
		model.JoinNone: {model.SerialRoot}, model.JoinOverlay: {model.SerialRoot, model.SerialUpper}, 99: nil,
	} {
		if got := join.Serials(); !slices.Equal(got, want) {
			t.Errorf("join %d: %q, want %q", join, got, want)
		}
	}
}
