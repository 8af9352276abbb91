package linux

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTrustAddsOnce(t *testing.T) {
	t.Parallel()
	const bundle, local = "etc/ssl/certs/ca-certificates.crt", "usr/local/share/ca-certificates/banger.crt"
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	ours := "-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n"
	for range 2 {
		if err := trustIn(root, []byte(ours)); err != nil {
			t.Fatal(err)
		}
	}
	if read(bundle) != ours || read(local) != ours {
		t.Errorf("a root without a bundle: %q, %q", read(bundle), read(local))
	}
	if err := os.WriteFile(filepath.Join(dir, bundle), []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	const fedora = "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(fedora)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fedora), []byte("fedora\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := trustIn(root, []byte(ours)); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(bundle); got != "theirs\n"+ours {
		t.Errorf("the bundle became %q", got)
	}
	if got := read(fedora); got != "fedora\n"+ours {
		t.Errorf("Fedora's became %q", got)
	}
}

func TestTrustStaysInTheRoot(t *testing.T) {
	t.Parallel()
	outside, dir := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "etc")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := trustIn(root, []byte("x")); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
		t.Errorf("written outside: %v, %v", left, err)
	}
}
