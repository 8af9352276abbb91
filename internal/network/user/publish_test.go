package user

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"banger/internal/model"
)

// TestPublishing has ports of a VM whose packets another driver carries.
func TestPublishing(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	d := newDriver(t, host)
	id, guest := model.NewVMID(), netip.MustParseAddr("198.18.4.2")
	if ports, err := d.Publish(t.Context(), id, "box", guest, nil); err != nil || len(ports) != 0 {
		t.Errorf("of none: %v, %v", ports, err)
	}
	if err := d.Withdraw(t.Context(), id); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(host, "netd.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a netd was started for nothing: %v", err)
	}
	v := model.VM{ID: id, Name: "box", Network: "bridge", State: model.StateRunning}
	v.Spec.Ports = []model.PortForward{{HostIP: model.Loopback(), GuestPort: 80}}
	if got := leaks(t, d, v); got != "row "+string(id) {
		t.Errorf("without its ports: %q", got)
	}
	first, err := d.Publish(t.Context(), id, "box", guest, v.Spec.Ports)
	if err != nil || len(first) != 1 || first[0].HostPort == 0 {
		t.Fatalf("%v, %v", first, err)
	}
	more := append(v.Spec.Ports, model.PortForward{HostIP: model.Loopback(), GuestPort: 53, UDP: true})
	again, err := d.Publish(t.Context(), id, "box", guest, more)
	if err != nil || len(again) != 2 || again[0] != first[0] || !again[1].UDP {
		t.Errorf("%v became %v, %v", first, again, err)
	}
	if got := leaks(t, d, v); got != "" {
		t.Errorf("in order, and found: %s", got)
	}
	if _, err := d.Publish(t.Context(), model.NewVMID(), "other", guest, first); !errors.Is(err, model.ErrExists) {
		t.Errorf("a port that is taken: %v", err)
	}
	// A netd that is killed is followed by another one that is told of it.
	if err := netdOf(t, host).Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again, err = d.Publish(t.Context(), id, "box", guest, more); err != nil || again[0] != first[0] {
		t.Errorf("after its death: %v, %v", again, err)
	}
	if err := netdOf(t, host).Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := d.Publish(t.Context(), model.NewVMID(), "other", guest, v.Spec.Ports)
	if err != nil || other[0].HostPort == first[0].HostPort {
		t.Errorf("another VM got %v, %v, and the first one has %v", other, err, first)
	}
	if err := d.Withdraw(t.Context(), id); err != nil {
		t.Error(err)
	}
	if got := leaks(t, d, v); got == "" {
		t.Error("nothing of it is published, and no leak was found")
	}
}
