package hostnet

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/testenv"
)

func TestObstacles(t *testing.T) {
	t.Parallel()
	nft := testenv.NeedTool(t, "nft")
	h := newHost(t)
	n := h.installation(t)
	h.set(t, n, model.NewVMID(), 1, "public")
	look := func() (found []string) {
		t.Helper()
		h.do(func() {
			var err error
			if found, err = n.Obstacles(t.Context()); err != nil {
				t.Error(err)
			}
		})
		return found
	}
	if found := look(); len(found) != 0 {
		t.Errorf("with our rules alone: %q", found)
	}
	h.do(func() {
		cmd := exec.Command(nft, "-f", "-")
		cmd.Stdin = strings.NewReader(`
			add table ip filter
			add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }
			add chain ip filter INPUT { type filter hook input priority 0; policy accept; }
			add chain ip filter OUTPUT { type filter hook output priority 0; policy drop; }
			add table inet firewall
			add chain inet firewall input { type filter hook input priority 10; policy drop; }
		`)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	want := []string{"the chain FORWARD of the nftables table ip filter", "the chain input of the nftables table inet firewall"}
	if found := look(); !slices.Equal(found, want) {
		t.Errorf("got %q, want %q", found, want)
	}
}
