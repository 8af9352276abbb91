package oci

import (
	"strings"

	"banger/internal/model"
)

// Platform is what an image's programs are made for.
type Platform struct{ OS, Arch, Variant string }

// DefaultPlatform is that of the VMs.
func DefaultPlatform() Platform { return Platform{OS: "linux", Arch: "amd64"} }

// ParsePlatform reads "linux/amd64" or "linux/amd64/v2"; "" is the default. What a VM cannot run is ErrUnsupported.
func ParsePlatform(text string) (Platform, error) {
	if text == "" {
		return DefaultPlatform(), nil
	}
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return Platform{}, model.Errorf(model.ErrInvalid, "%.80q is not a platform: write linux/amd64", text)
	}
	p := Platform{OS: parts[0], Arch: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	if p.OS != "linux" || p.Arch != "amd64" && p.Arch != "386" {
		return p, model.Errorf(model.ErrUnsupported, "cannot run images for %.80q: the VMs of this host run linux/amd64 and linux/386", text)
	}
	return p, nil
}

func (p Platform) String() string {
	text := p.OS + "/" + p.Arch
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	if len(text) > 80 {
		return text[:80]
	}
	return text
}

func (p Platform) fits(want Platform) bool {
	return p.OS == want.OS && p.Arch == want.Arch && (want.Variant == "" || p.Variant == want.Variant)
}
