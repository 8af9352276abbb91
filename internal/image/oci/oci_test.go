package oci

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"banger/internal/model"
)

func hex(c string) string { return "sha256:" + strings.Repeat(c, 64) }

func descriptor(media, digest string) string {
	return fmt.Sprintf(`{"mediaType": %q, "digest": %q, "size": 5}`, media, digest)
}

const (
	configType = "application/vnd.oci.image.config.v1+json"
	layerType  = "application/vnd.oci.image.layer.v1.tar+gzip"
)

func TestParse(t *testing.T) {
	t.Parallel()
	ok := fmt.Sprintf(`{"schemaVersion": 2, "config": %s, "layers": [%s]}`, descriptor(configType, hex("a")), descriptor(layerType, hex("b")))
	doc, err := Parse([]byte(ok))
	if err != nil || doc.Manifest == nil || doc.Manifest.Config.Digest != model.Digest(hex("a")) || len(doc.Manifest.Layers) != 1 || doc.Manifest.Layers[0].Size != 5 {
		t.Errorf("%+v, %v", doc.Manifest, err)
	}
	many := strings.Repeat(descriptor(layerType, hex("b"))+",", MaxLayers) + descriptor(layerType, hex("b"))
	for name, c := range map[string]struct {
		data string
		kind error
	}{
		"not JSON":         {`{`, model.ErrCorrupt},
		"docker's first":   {`{"schemaVersion": 1, "fsLayers": []}`, model.ErrUnsupported},
		"nothing":          {`{"schemaVersion": 2}`, model.ErrUnsupported},
		"a chart":          {fmt.Sprintf(`{"schemaVersion": 2, "config": %s, "layers": []}`, descriptor("application/vnd.cncf.helm.config.v1+json", hex("a"))), model.ErrUnsupported},
		"an odd layer":     {fmt.Sprintf(`{"schemaVersion": 2, "config": %s, "layers": [%s]}`, descriptor(configType, hex("a")), descriptor("text/plain", hex("b"))), model.ErrUnsupported},
		"an encrypted one": {fmt.Sprintf(`{"schemaVersion": 2, "config": %s, "layers": [%s]}`, descriptor(configType, hex("a")), descriptor(layerType+"+encrypted", hex("b"))), model.ErrUnsupported},
		"too many layers":  {fmt.Sprintf(`{"schemaVersion": 2, "config": %s, "layers": [%s]}`, descriptor(configType, hex("a")), many), model.ErrInvalid},
		"a bad digest":     {fmt.Sprintf(`{"schemaVersion": 2, "config": %s, "layers": [%s]}`, descriptor(configType, "sha256:../../x"), ""), model.ErrCorrupt},
		"a huge config":    {fmt.Sprintf(`{"schemaVersion": 2, "config": {"mediaType": %q, "digest": %q, "size": 99999999}, "layers": []}`, configType, hex("a")), model.ErrInvalid},
	} {
		if doc, err := Parse([]byte(c.data)); !errors.Is(err, c.kind) {
			t.Errorf("%s: %+v, %v", name, doc, err)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	entry := func(digest, os, arch, variant string) Entry {
		e := Entry{Platform: &Platform{os, arch, variant}}
		e.Digest = model.Digest(digest)
		return e
	}
	amd, v3, arm := entry("plain", "linux", "amd64", ""), entry("v3", "linux", "amd64", "v3"), entry("arm", "linux", "arm64", "v8")
	unsaid, about := Entry{}, entry("about", "unknown", "unknown", "")
	unsaid.Digest = "unsaid"
	for name, c := range map[string]struct {
		index []Entry
		want  Platform
		got   model.Digest
	}{
		"among many":           {[]Entry{about, arm, v3, amd}, DefaultPlatform(), "plain"},
		"only a variant":       {[]Entry{arm, v3}, DefaultPlatform(), "v3"},
		"a variant asked for":  {[]Entry{amd, v3}, Platform{"linux", "amd64", "v3"}, "v3"},
		"one that says it not": {[]Entry{arm, unsaid}, DefaultPlatform(), "unsaid"},
		"said before not said": {[]Entry{unsaid, amd}, DefaultPlatform(), "plain"},
	} {
		if e, err := Choose(c.index, c.want); err != nil || e.Digest != c.got {
			t.Errorf("%s: %v, %v", name, e.Digest, err)
		}
	}
	_, err := Choose([]Entry{about, arm}, DefaultPlatform())
	if !errors.Is(err, model.ErrNotFound) || !strings.Contains(err.Error(), "linux/arm64/v8") || strings.Contains(err.Error(), "unknown") {
		t.Errorf("none: %v", err)
	}
}

func TestParseConfig(t *testing.T) {
	t.Parallel()
	c, err := ParseConfig([]byte(`{"os": "linux", "architecture": "amd64", "config": {"Entrypoint": ["/e"], "Cmd": ["c"], "Env": ["A=b", "NOVALUE", "=x"],
		"WorkingDir": "../srv/./x", "User": "u:g", "StopSignal": "SIGRTMIN+3", "Labels": {"k": "v"}}}`), DefaultPlatform())
	if err != nil || c.Workdir != "/srv/x" || fmt.Sprint(c.Env) != "[A=b]" || c.Labels["k"] != "v" || c.User != "u:g" || c.StopSignal != "SIGRTMIN+3" {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := ParseConfig([]byte(`{}`), DefaultPlatform()); err != nil || c.Platform != DefaultPlatform() {
		t.Errorf("an old one: %+v, %v", c, err)
	}
	labels := make([]string, 1000)
	for i := range labels {
		labels[i] = fmt.Sprintf(`"k%04d": %q`, i, strings.Repeat("v", 100))
	}
	c, err = ParseConfig([]byte(`{"config": {"Labels": {`+strings.Join(labels, ",")+`}}}`), DefaultPlatform())
	if err != nil || len(c.Labels) != maxLabels || c.Labels["k0000"] == "" {
		t.Errorf("%d labels, %v", len(c.Labels), err)
	}
	for name, c := range map[string]struct {
		data string
		kind error
	}{
		"not JSON":         {`[`, model.ErrCorrupt},
		"another platform": {`{"os": "windows", "architecture": "amd64"}`, model.ErrNotFound},
		"a NUL":            {`{"config": {"Cmd": ["a\u0000b"]}}`, model.ErrInvalid},
		"a user":           {`{"config": {"User": "a/b"}}`, model.ErrInvalid},
		"a signal":         {`{"config": {"StopSignal": "SIGNOT"}}`, model.ErrInvalid},
		"a big command":    {`{"config": {"Cmd": ["` + strings.Repeat("x", 3<<20) + `"]}}`, model.ErrInvalid},
	} {
		if got, err := ParseConfig([]byte(c.data), DefaultPlatform()); !errors.Is(err, c.kind) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestParsePlatform(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "linux/amd64", "linux/386": "linux/386", "linux/amd64/v2": "linux/amd64/v2"} {
		if p, err := ParsePlatform(text); err != nil || p.String() != want {
			t.Errorf("%q: %s, %v", text, p, err)
		}
	}
	for text, kind := range map[string]error{"amd64": model.ErrInvalid, "a/b/c/d": model.ErrInvalid, "linux/arm64": model.ErrUnsupported, "windows/amd64": model.ErrUnsupported} {
		if _, err := ParsePlatform(text); !errors.Is(err, kind) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
