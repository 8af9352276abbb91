package refname

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"banger/internal/model"
)

func TestParse(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("ab", 32)
	for text, want := range map[string]string{
		"debian": "debian", "my-image": "my-image",
		"python:3.13": "python:3.13", "library/python": "python:latest", name.DefaultRegistry + "/library/python:3": "python:3",
		"user/repo": "user/repo:latest", "localhost:5000/a/b:tag": "localhost:5000/a/b:tag", "localhost/x": "localhost/x:latest",
		"registry.example/a": "registry.example/a:latest", "[::1]:5000/a:b": "[::1]:5000/a:b",
		"python@" + digest: "python@" + digest, "python:3@" + digest: "python@" + digest,
	} {
		n, err := Parse(text)
		if err != nil || n.String() != want || !Fits(want) {
			t.Errorf("%q: %q, %v; want %q", text, n, err, want)
			continue
		}
		if again, err := Parse(n.String()); err != nil || again.String() != want {
			t.Errorf("%q is not its own spelling: %q, %v", want, again, err)
		}
		if _, err := n.Reference(false); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "Debian", "a b", "../x", "/etc/passwd", "a//b", "a/../b", "a:", "a:b:c", "a@sha256:12", "a@md5:" + strings.Repeat("a", 32),
		"https://registry.example/a", "a\nb", "a\x1b[31m", strings.Repeat("a", 600), "-a", "a/.b", "a/b-", ":x", "@", "-", "registry.example/",
	} {
		if n, err := Parse(text); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%q is taken as %q, %v", text, n, err)
		} else if strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("the message repeats control characters: %q", err)
		}
	}
}

func TestReference(t *testing.T) {
	t.Parallel()
	n, err := ParseReference("debian")
	if err != nil || n.String() != "debian:latest" || n.Plain() || n.Repository() != "debian" || n.Digest() != "" {
		t.Errorf("%q, %v", n, err)
	}
	ref, err := n.Reference(false)
	if err != nil || ref.Context().RepositoryStr() != "library/debian" || ref.Context().RegistryStr() != name.DefaultRegistry {
		t.Errorf("%v, %v", ref, err)
	}
	n, err = ParseReference("registry.example/a:b")
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := n.Reference(false)
	open, _ := n.Reference(true)
	if plain.Context().Scheme() != "https" || open.Context().Scheme() != "http" {
		t.Errorf("%s, %s", plain.Context().Scheme(), open.Context().Scheme())
	}
}
