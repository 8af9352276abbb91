//go:build crash

package resolved_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"banger/internal/crash/crashtest"
	"banger/internal/helper/resolved"
	"banger/internal/helper/resolved/resolvedtest"
	"banger/internal/testenv"
)

// busVariable is the bus of the test program, run again as what is killed.
const busVariable = "BANGER_TEST_BUS"

func TestMain(m *testing.M) {
	if bus := os.Getenv(busVariable); bus != "" {
		if r, err := loopback(); err == nil {
			_ = resolved.New(resolved.Options{Bus: bus}).Tell(context.Background(), r)
		}
		os.Exit(1) // it was to be killed
	}
	os.Exit(m.Run())
}

// steps is how many things systemd-resolved is told of a device.
const steps = 7

// TestKilledAtAnyPoint requires that no other names are asked for at what was half told, and that the next one who tells it
// tells all of it.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	var points []string
	for _, point := range crashtest.Points(t, "resolved.") {
		switch point {
		case "resolved.tell.step":
			for n := 1; n <= steps; n++ {
				points = append(points, fmt.Sprintf("%s#%d", point, n))
			}
		default:
			points = append(points, point)
		}
	}
	if len(points) < steps {
		t.Errorf("there are no such points: %q", points)
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			bus := resolvedtest.Bus(t)
			fake := resolvedtest.Start(t, bus)
			if strings.HasPrefix(point, "resolved.revert.") {
				fake.Fail("SetLinkDNS", "org.freedesktop.resolve1.LinkBusy")
			}
			cmd := crashtest.Again(point, busVariable+"="+bus)
			if out, err := cmd.CombinedOutput(); !testenv.Killed(cmd) {
				t.Fatalf("it was not killed there: %v, %s", err, out)
			}
			s, r := resolved.New(resolved.Options{Bus: bus}), route(t)
			whole := point == "resolved.tell.after" || point == fmt.Sprintf("resolved.tell.step#%d", steps)
			if l, _ := fake.Link(r.Device); (len(l.Servers) > 0) != whole {
				t.Errorf("it was told %+v", l)
			}
			fake.Fail("SetLinkDNS", "")
			if err := s.Tell(t.Context(), r); err != nil {
				t.Error(err)
			}
			if told, err := s.Told(t.Context(), r); !told || err != nil {
				t.Errorf("told: %v, %v", told, err)
			}
			if l, _ := fake.Link(r.Device); fake.Early() || l.DefaultRoute || len(l.Settings) != 4 {
				t.Errorf("other names are asked for there, too: %+v", l)
			}
		})
	}
}
