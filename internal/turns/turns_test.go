package turns

import (
	"context"
	"errors"
	"testing"
)

func TestOneAtATime(t *testing.T) {
	t.Parallel()
	var turns Of[string]
	done, err := turns.Take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := turns.Try("a"); ok {
		t.Error("two have one turn")
	}
	other, ok := turns.Try("b")
	if !ok {
		t.Fatal("another thing has to wait")
	}
	other()
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turns.Take(late, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("waited for it: %v", err)
	}
	next := make(chan func())
	go func() {
		done, err := turns.Take(t.Context(), "a")
		if err != nil {
			t.Error(err)
		}
		next <- done
	}()
	done()
	(<-next)()
	if len(turns.busy) != 0 {
		t.Errorf("left: %v", turns.busy)
	}
	again, ok := turns.Try("a")
	if !ok {
		t.Fatal("nobody has the turn, and it is not to be had")
	}
	again()
}
