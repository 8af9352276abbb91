package image

import (
	"testing"

	"banger/internal/testenv"
)

func TestMirrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sources []source
		want    mirrors
	}{
		"one-line": {parseList(`# deb http://old.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://near.example/debian/ bookworm main contrib # ours
deb-src http://src.example/debian bookworm main
deb http://near.example/debian bookworm-updates main
deb http://near.example/security bookworm-security main
`), mirrors{"http://near.example/debian", "http://near.example/security"}},
		"deb822": {parseDeb822(`Types: deb deb-src
# a comment
URIs: http://near.example/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://near.example/security
Suites: bookworm-security
Components: main
`), mirrors{"http://near.example/debian", "https://near.example/security"}},
		"others with the same suite": {parseList(`deb [signed-by=/etc/apt/keyrings/docker.gpg] https://docker.example/debian bookworm main
deb https://pkgs.example/x bookworm stable
deb http://near.example/debian bookworm main
`), mirrors{"http://near.example/debian", ""}},
		"not enabled":       {parseDeb822("Enabled: no\nTypes: deb\nURIs: http://x.example\nSuites: bookworm\nComponents: main\n"), mirrors{}},
		"not from the web":  {parseList("deb cdrom:[Debian 12]/ bookworm main\ndeb file:/srv/debian bookworm main\n"), mirrors{}},
		"of other releases": {parseList("deb http://near.example/debian trixie main\n"), mirrors{}},
	} {
		if got := pickMirrors(c.sources, "bookworm"); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := (debian{}).sources(mirrors{main: "http://x"}); got != nil {
		t.Errorf("half of the mirrors: %v", got)
	}
}

func TestRealKernel(t *testing.T) {
	t.Parallel()
	record := "Package: linux-image-cloud-amd64\nVersion: 6.1.192-2\nDepends: foo, linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\n"
	if got := realKernel(record); got != "linux-image-6.1.0-56-cloud-amd64" {
		t.Errorf("got %q", got)
	}
	if got := realKernel("Depends: linux-image-amd64\n"); got != "" {
		t.Errorf("got %q", got)
	}
}

// TestUsualMirrors has mmdebstrap name its own, as on a host that is not Debian.
func TestUsualMirrors(t *testing.T) {
	t.Parallel()
	testenv.NeedTool(t, "mmdebstrap")
	b := newBench(t, fakeRecipe{})
	b.tools = HostTools()
	if err := (debian{b.tools}).checkKeyring(); err != nil {
		t.Skipf("not run: %v", err)
	}
	work, err := b.newScratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := work.close(); err != nil {
			t.Error(err)
		}
	})
	m, err := debian{b.tools}.usualMirrors(t.Context(), work)
	if err != nil || (debian{b.tools}).sources(m) == nil || m.main == m.security {
		t.Errorf("%+v, %v", m, err)
	}
}
