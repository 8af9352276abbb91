package workspace

import (
	"strings"
	"testing"
)

func TestGitDirectories(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		".git", ".GIT", ".Git", ".gIt", "git~1", "GIT~1", "git~12", ".git ", ".git.", ".git...", ".git . .", ".git:x", ".git::$INDEX_ALLOCATION",
		".g\u200cit", "\u200d.git", ".git\u200e", ".gi\u202et", "\ufeff.git", ".git\u206a", "．git", "․git", "﹒git", ".ｇｉｔ", ".ⓖⓘⓣ", ".𝐠𝐢𝐭", ".gıt", ".gİt",
		".ɡit", ".g\u00adit", ".g\ufe0fit", ".g\u0301it", ".git\x01", ".g\xffit",
	} {
		if !isGitDir(name) {
			t.Errorf("%q is taken for harmless", name)
		}
	}
	for _, name := range []string{".gitignore", ".github", "git", ".gi", ".gitt", "x.git", "git~", "git~x", ".git-x", "git1", ".gi\u0442x", "~1", "..git", ". git"} {
		if isGitDir(name) {
			t.Errorf("%q is refused", name)
		}
	}
}

func TestRefusedNames(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]bool{
		"a": false, "a/b/c": false, "a b": false, "日本語": false, "a\\b": false, "a\nb": false, "...": false, "a/.gitignore": false,
		".git": true, "a/.git/b": true, "a/.GIT": true, `a\.git\config`: true, `..\x`: true, `x\..\..\y`: true, `C:\x`: false,
	} {
		if got := refusedName(name) != ""; got != refused {
			t.Errorf("%q: refused %v", name, got)
		}
	}
}

func TestRefusedLinks(t *testing.T) {
	t.Parallel()
	links := map[string]string{"up": ".", "d/up": "..", "abs": "/etc", "loop": "pool", "pool": "loop", "dot": ".git"}
	for _, c := range []struct {
		name, target string
		refused      bool
	}{
		{"l", "a", false}, {"l", "d/a", false}, {"d/l", "../a", false}, {"d/e/l", "../../a/../b", false}, {"l", "no/such/../../x", false},
		{"l", "/etc/passwd", true}, {"l", "..", true}, {"l", "../x", true}, {"d/l", "../../x", true}, {"l", "d/../../x", true},
		{"l", "up/up/a", false}, {"l", "up/../x", true}, {"l", "d/up/../x", true}, {"l", "d/up/d", false}, {"l", "abs", true}, {"l", "abs/passwd", true},
		{"l", "loop", true}, {"l", ".git", true}, {"l", "d/.GIT/config", true}, {"l", "dot/config", true}, {"l", "./././a//b", false}, {"l", ".", false},
	} {
		if got := refusedLink(c.name, c.target, links); (got != "") != c.refused {
			t.Errorf("%s -> %s: %q, refused should be %v", c.name, c.target, got, c.refused)
		}
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	for name, secret := range map[string]bool{
		".env": true, "a/.env.production": true, ".env.example": false, ".env.sample": false, ".envrc": false, "env": false, "id_ed25519": true,
		"id_rsa.bak": true, "id_rsa.pub": false, "id_rsa_old": true, "server.PEM": true, "x.key": true, "keys.go": false, "monkey": false,
		".aws/config": true, "home/.ssh/known_hosts": true, "aws/config": false, "credentials": true, "credentials.go": false, ".git-credentials": true,
		"terraform.tfvars": true, "a.p12": true, ".netrc": true, "secrets.yaml": true, "secret.go": false, ".npmrc": false,
	} {
		if got := looksSecret(name); got != secret {
			t.Errorf("%s: secret %v", name, got)
		}
	}
	for text, token := range map[string]bool{"registry=https://x": false, "//r/:_authToken=abc": true, "_PASSWORD=x": true, "": false} {
		if got := holdsToken(strings.NewReader(text)); got != token {
			t.Errorf("%q: token %v", text, got)
		}
	}
}

func TestQuotedPaths(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"a": `"a"`, `a"b\c`: `"a\"b\\c"`, "a\nb\xff": `"a\012b\377"`, "é": `"\303\251"`} {
		if got := quotePath(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}
