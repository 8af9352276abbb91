package model_test

import (
	"encoding/json"
	"errors"
	"testing"

	"banger/internal/model"
)

func TestParsePort(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"8080:80": "127.0.0.1:8080:80", "0:80": "127.0.0.1:0:80", "0.0.0.0:53:53/udp": "0.0.0.0:53:53/udp",
		"10.1.2.3:1:65535/tcp": "10.1.2.3:1:65535", "[::1]:8080:80": "[::1]:8080:80", "[::]:1:2/udp": "[::]:1:2/udp",
	} {
		f, err := model.ParsePort(text)
		if err != nil || f.String() != want {
			t.Errorf("%q is %q, %v; want %q", text, f, err, want)
			continue
		}
		var back model.PortForward
		raw, _ := json.Marshal(f)
		if err := json.Unmarshal(raw, &back); err != nil || back != f {
			t.Errorf("%s became %v, %v", raw, back, err)
		}
	}
	for _, text := range []string{
		"", "80", ":80", "80:", "80:0", "70000:80", "80:70000", "a:80", "1.2.3:80:80", "::1:80:80", "[::1:80:80", "80:80/sctp",
		"80:80/", "+80:80", "-1:80", "localhost:80:80", "[1.2.3.4]:80:80", "[fe80::1%lo]:80:80", "80:80:80:80", " 80:80",
	} {
		if f, err := model.ParsePort(text); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%q is %v, %v; want ErrInvalid", text, f, err)
		}
	}
}

func TestPortsThatOverlap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"80:1", "80:2", true}, {"80:1", "80:2/udp", false}, {"0:1", "0:1", false}, {"0.0.0.0:80:1", "80:1", true},
		{"127.0.0.2:80:1", "80:1", false}, {"81:1", "80:1", false}, {"[::]:80:1", "80:1", true},
	} {
		a, _ := model.ParsePort(c.a)
		b, _ := model.ParsePort(c.b)
		if a.Overlaps(b) != c.want || b.Overlaps(a) != c.want {
			t.Errorf("%s and %s: want %v", c.a, c.b, c.want)
		}
		if err := model.ValidatePorts([]model.PortForward{a, b}); (err != nil) != (c.want || a == b) {
			t.Errorf("%s and %s: %v", c.a, c.b, err)
		}
	}
}
