package vm

import (
	"net/netip"
	"slices"
	"testing"

	"banger/internal/model"
)

func forward(t *testing.T, text string) model.PortForward {
	t.Helper()
	f, err := model.ParsePort(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFollowed(t *testing.T) {
	t.Parallel()
	free := func(f model.PortForward) bool { return f.HostPort != 5432 }
	asked := []model.Port{{PortForward: forward(t, "8080:80")}, {PortForward: forward(t, "53:53/udp")}}
	auto := func(text string) model.Port { return model.Port{PortForward: forward(t, text), Auto: true} }
	for name, c := range map[string]struct {
		ports     []model.Port
		listening []uint16
		want      []model.Port
	}{
		"nothing":                     {nil, nil, nil},
		"published already":           {asked, []uint16{80}, asked},
		"udp is another":              {asked, []uint16{53}, append(slices.Clone(asked), auto("0:53"))},
		"its own number":              {nil, []uint16{3000}, []model.Port{auto("3000:3000")}},
		"taken on the host":           {nil, []uint16{5432}, []model.Port{auto("0:5432")}},
		"taken by a published one":    {asked, []uint16{8080}, append(slices.Clone(asked), auto("0:8080"))},
		"privileged":                  {nil, []uint16{443}, []model.Port{auto("0:443")}},
		"one stays where it is":       {[]model.Port{auto("41000:80"), auto("3000:3000")}, []uint16{80}, []model.Port{auto("41000:80")}},
		"all go but those asked for":  {append(slices.Clone(asked), auto("3000:3000")), nil, asked},
		"the same port on both sides": {[]model.Port{auto("3000:3000")}, []uint16{3000, 3001}, []model.Port{auto("3000:3000"), auto("3001:3001")}},
	} {
		if got := followed(c.ports, c.listening, free); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	var many []uint16
	for port := uint16(2000); port < 4000; port++ {
		many = append(many, port)
	}
	if got := followed(asked, many, free); len(got) != len(asked)+maxAuto {
		t.Errorf("%d ports appeared", len(got)-len(asked))
	}
}

func TestRecalledPorts(t *testing.T) {
	t.Parallel()
	spec := model.Spec{PortsAuto: true, Ports: []model.PortForward{forward(t, "8080:80"), forward(t, "0:80"), forward(t, "9:9/udp")}}
	want := []model.Port{
		{PortForward: forward(t, "8080:80")}, {PortForward: forward(t, "41001:80")}, {PortForward: forward(t, "9:9/udp")},
		{PortForward: forward(t, "3000:3000"), Auto: true},
	}
	text := portsText(want)
	if got := recalledPorts(spec, text); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, text := range []string{"", "rubbish", "127.0.0.1:5:6 *", "* * *"} {
		if got := recalledPorts(spec, text); !slices.Equal(got, published(spec)) {
			t.Errorf("%q: %v", text, got)
		}
	}
	spec.PortsAuto = false
	if got := recalledPorts(spec, text); !slices.Equal(got, want[:3]) {
		t.Errorf("without automatic ones: %v", got)
	}
}

func TestDirectPorts(t *testing.T) {
	t.Parallel()
	address := netip.MustParseAddr("198.18.4.2")
	many := make([]uint16, 10*maxAuto)
	for i := range many {
		many[i] = uint16(i + 1)
	}
	got := directPorts(nil, address, many)
	if want := (model.Port{PortForward: model.PortForward{HostIP: address, HostPort: 1, GuestPort: 1}, Auto: true}); len(got) != maxAuto || got[0] != want {
		t.Errorf("%d ports, the first is %v, want %d and %v", len(got), got[0], maxAuto, want)
	}
	if got := directPorts(got, address, nil); len(got) != 0 {
		t.Errorf("without listeners: %v", got)
	}
	tcp := model.Port{PortForward: model.PortForward{HostIP: model.Loopback(), HostPort: 8080, GuestPort: 2}}
	udp := model.Port{PortForward: model.PortForward{HostIP: model.Loopback(), HostPort: 8080, GuestPort: 1, UDP: true}}
	got = directPorts(append([]model.Port{tcp, udp}, got...), address, []uint16{1, 2, 3})
	if len(got) != 4 || got[0] != tcp || got[1] != udp || got[2].GuestPort != 1 || got[3].GuestPort != 3 {
		t.Errorf("beside published ones: %v", got)
	}
}
