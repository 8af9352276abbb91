package vmm

import (
	"errors"
	"testing"

	"banger/internal/model"
)

func TestFeaturesTellOfThemselves(t *testing.T) {
	t.Parallel()
	if err := (Features{Slow: "old", Fix: "buy"}).Err("run"); err != nil {
		t.Errorf("without a problem: %v", err)
	}
	for want, f := range map[string]Features{
		"cannot run: gone; run: buy":           {Problem: "gone", Fix: "buy"},
		"cannot run: gone; see: banger doctor": {Problem: "gone"},
	} {
		err := f.Err("run")
		if _, fix := model.Remedy(err); !errors.Is(err, model.ErrUnsupported) || err.Error() != want || fix != f.Fix {
			t.Errorf("%v, mended by %q; want %q", err, fix, want)
		}
	}
	for want, f := range map[string]Features{
		"": {Fix: "buy"}, "old": {Slow: "old"}, "old; run: buy": {Slow: "old", Fix: "buy"},
	} {
		if got := f.Warning(); got != want {
			t.Errorf("%+v warns %q, want %q", f, got, want)
		}
	}
}
