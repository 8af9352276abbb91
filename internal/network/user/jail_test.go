package user

import (
	"context"
	"os"
	"slices"
	"testing"

	netdv1 "banger/api/netd/v1"
	"banger/internal/model"
	"banger/internal/network"
)

// oneJail is a host with one VM in a jail.
type oneJail struct {
	id     model.VMID
	opened []model.VMID
	tap    *os.File
}

func (j *oneJail) There(id model.VMID) bool { return id == j.id }

func (j *oneJail) OpenTap(_ context.Context, id model.VMID) (*os.File, error) {
	j.opened = append(j.opened, id)
	return j.tap, nil
}

// TestWhoOpensATap: the jail, where the VMM is in one, whatever the driver was told or its host is like now; and nobody else.
func TestWhoOpensATap(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	d := newDriver(t, host)
	if slices.Contains(d.Links(), network.LinkJailTap) {
		t.Error("without jails it makes links for them")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	jailed := &oneJail{id: model.NewVMID(), tap: null}
	d.options.Jails = jailed
	if got := d.Links(); slices.Index(got, network.LinkJailTap) < 0 || slices.Index(got, network.LinkJailTap) > slices.Index(got, network.LinkOwnTap) {
		t.Errorf("its links are %v", got)
	}
	self := mustSelf(t)
	port := func(id model.VMID) *netdv1.Port {
		return &netdv1.Port{VmId: string(id), Mtu: mtu, Tap: &netdv1.Tap{Name: tapName, Pid: int32(self.PID), StartTime: self.StartTime, BootId: self.BootID}}
	}
	if tap, err := d.openTap(t.Context(), port(jailed.id)); err != nil || tap != jailed.tap {
		t.Errorf("got %v, %v", tap, err)
	}
	if tap, err := d.openTap(t.Context(), port(model.NewVMID())); err == nil { // this process has no namespace of its own
		t.Errorf("another VM's is opened: %v", tap)
	}
	if !slices.Equal(jailed.opened, []model.VMID{jailed.id}) {
		t.Errorf("opened were %v", jailed.opened)
	}
	// netd is told of it as of any other.
	s := spec(host, 1)
	s.Kind = network.LinkJailTap
	if _, err := d.Set(t.Context(), jailed.id, s); err != nil {
		t.Fatal(err)
	}
	if err := d.Up(t.Context(), jailed.id, self); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.ports[jailed.id]; p.GetTap().GetPid() != int32(self.PID) {
		t.Errorf("netd was told of %v", p.GetTap())
	}
}
