package resolvconf

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSearchDomains(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"nameserver 1.1.1.1\n":                           nil,
		"domain a.example\nsearch b.example C.example\n": {"b.example", "C.example"},
		"search .\n":                         nil,
		"search good b;ad /x\n":              {"good"},
		"# search x\nsearch a b c d e f g h": {"a", "b", "c", "d", "e", "f"},
	} {
		if got := parseSearch(strings.NewReader(text)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestServers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("search x\nnameserver\nnameserver ::1\nnameserver 127.0.0.53\n nameserver 10.0.0.1 # b\nnameserver nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("10.0.0.1")}
	if got := Servers(path); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := Servers(filepath.Join(t.TempDir(), "none")); got != nil {
		t.Errorf("of a file that is missing: %v", got)
	}
}
