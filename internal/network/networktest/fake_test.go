package networktest

import (
	"errors"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/network"
)

func TestFake(t *testing.T) {
	t.Parallel()
	Run(t, Harness{
		New:    func(_ *testing.T, host string) network.Driver { return NewFake(host, nil) },
		Policy: "public",
		Ports:  true,
		Has:    func(_ *testing.T, host string, id model.VMID) bool { return NewFake(host, nil).Has(id) },
	})
}

func TestFakeFailsAndPrints(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	f := NewFake(t.TempDir(), func(call string, _ model.VMID) error {
		if call == "Clear" {
			return broken
		}
		return nil
	})
	id := model.NewVMID()
	if _, err := f.Set(t.Context(), id, network.Spec{Slot: 3, Policy: "none"}); err != nil {
		t.Fatal(err)
	}
	if err := f.Sweep(t.Context(), nil); !errors.Is(err, broken) {
		t.Errorf("got %v, want broken", err)
	}
	if got, want := f.String(), "link "+string(id)+" slot 3 policy none up false\n"; !strings.Contains(got, want) {
		t.Errorf("the host prints as %q, want %q", got, want)
	}
}
