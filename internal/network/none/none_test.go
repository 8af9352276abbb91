package none

import (
	"os"
	"testing"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/network/networktest"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	networktest.Run(t, networktest.Harness{
		New:    func(*testing.T, string) network.Driver { return New() },
		Policy: "none",
	})
}

func TestItMakesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link, err := New().Set(t.Context(), model.NewVMID(), network.Spec{Slot: 1, Policy: "none", Dir: dir})
	if err != nil || link.Kind != network.LinkNone || link.MAC != nil || link.Address.IsValid() || link.Handles != (model.NetHandles{}) {
		t.Errorf("%+v, %v: want no link at all", link, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}
