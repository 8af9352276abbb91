package model

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Policy{
		"none":     {},
		" public ": {Kind: KindList, Entries: []PolicyEntry{{Public: true}}},
		"open":     {Kind: KindOpen},
		"10.0.0.0/8:22, 192.0.2.7,192.0.2.8:443": {Kind: KindList, Entries: []PolicyEntry{
			{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Port: 22},
			{Prefix: netip.MustParsePrefix("192.0.2.7/32")},
			{Prefix: netip.MustParsePrefix("192.0.2.8/32"), Port: 443},
		}},
		"Example.ORG.:443,*.example.org,public,group:team-1": {Kind: KindList, Entries: []PolicyEntry{
			{Domain: "example.org", Port: 443}, {Domain: "*.example.org"}, {Public: true}, {Group: "team-1"},
		}},
		"_dmarc.x.org,1password.com,*.internal": {Kind: KindList, Entries: []PolicyEntry{
			{Domain: "_dmarc.x.org"}, {Domain: "1password.com"}, {Domain: "*.internal"},
		}},
		"public,public": {Kind: KindList, Entries: []PolicyEntry{{Public: true}}},
	} {
		got, err := ParsePolicy(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
			continue
		}
		again, err := ParsePolicy(got.String())
		if err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%q was written as %q, which is %+v, %v", text, got, again, err)
		}
	}
}

func TestParsePolicyNamesTheBadEntry(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"":                                    "empty",
		"public,":                             "empty entry",
		"pubic":                               `"pubic"`,
		"public,open":                         `"open"`,
		"none,example.org":                    `"none"`,
		"public,example.org:0":                `"example.org:0"`,
		"example.org:65536":                   `"65536"`,
		"example.org:":                        "not a port",
		"example.org:https":                   `"https"`,
		"256.1.1.1":                           `"256.1.1.1"`,
		"10.0.0.0/33":                         `"10.0.0.0/33"`,
		"10.1.2.3/8":                          "10.0.0.0/8",
		"1.2.3":                               `"1.2.3"`,
		"host.123":                            `"host.123"`,
		"2001:db8::1":                         "IPv6",
		"127.0.0.1:80":                        "--host-port",
		"127.0.0.0/8":                         "--host-port",
		"[2001:db8::1]:443":                   "IPv6",
		"*":                                   `"*"`,
		"*.":                                  `"*."`,
		"a.*.org":                             `"a.*.org"`,
		"*.*.org":                             `"*.*.org"`,
		"-a.org":                              `"-a.org"`,
		"a..org":                              `"a..org"`,
		"bücher.example":                      `"bücher.example"`,
		"a b.org":                             `"a b.org"`,
		"group:":                              "network group",
		"group:Team":                          `"Team"`,
		"http://example.org":                  `"http://example.org"`,
		"example.org/path":                    `"example.org/path"`,
		strings.Repeat("a", 64) + ".org":      "cannot use",
		strings.Repeat("x", maxPolicyBytes+1): "bytes",
		"public" + many(maxPolicyEntries):     "entries",
	} {
		got, err := ParsePolicy(text)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%.40q: %+v, %v; want an ErrInvalid that says %s", text, got, err, says)
		}
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("," + netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String())
	}
	return b.String()
}

func TestPolicyEntryMatchesName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		domain, name string
		want         bool
	}{
		{"example.org", "example.org", true},
		{"example.org", "www.example.org", false},
		{"*.example.org", "www.example.org", true},
		{"*.example.org", "a.b.example.org", true},
		{"*.example.org", "example.org", false},
		{"*.example.org", ".example.org", false},
		{"*.example.org", "badexample.org", false},
		{"", "", false},
	} {
		if got := (PolicyEntry{Domain: c.domain}).MatchesName(c.name); got != c.want {
			t.Errorf("%s matches %s: %v", c.domain, c.name, got)
		}
	}
}
