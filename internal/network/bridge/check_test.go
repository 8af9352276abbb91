package bridge

import (
	"testing"

	"banger/internal/helper/hostnet"
	"banger/internal/model"
)

func TestChecksOfObstacles(t *testing.T) {
	t.Parallel()
	got := checksOf("bridge", []hostnet.Obstacle{
		{Chain: "the chain a", Fix: "open a and c"}, {Chain: "the chain b"}, {Chain: "the chain c", Fix: "open a and c"},
	})
	want := []model.Check{
		{
			Name: "bridge", Status: model.CheckWarning, Fix: "open a and c",
			Detail: "packets of VMs on the bridge may be refused by the chain a, the chain c, unless a rule there lets them pass",
		},
		{
			Name: "bridge", Status: model.CheckWarning,
			Detail: "packets of VMs on the bridge may be refused by the chain b, unless a rule there lets them pass; " +
				"let pass there what comes from and goes to interfaces named bb*",
		},
	}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %+v", got)
	}
}
