package workspace

import (
	"bytes"
	"io"
	"path"
	"strings"
)

// harmless are the names beside .env that hold examples by custom and are part of most projects.
var harmless = []string{".example", ".sample", ".template", ".dist", ".defaults", ".tmpl", ".schema"}

var secretNames = map[string]bool{
	".netrc": true, "_netrc": true, ".git-credentials": true, ".pgpass": true, ".my.cnf": true, ".htpasswd": true,
	".pypirc": true, ".dockercfg": true, ".vault-token": true, ".terraformrc": true, "terraform.rc": true, ".s3cfg": true,
	".boto": true, "credentials": true, "credentials.json": true, "credentials.yml": true, "credentials.yaml": true,
	"service-account.json": true, "kubeconfig": true, ".kubeconfig": true, "master.key": true, ".envrc.local": true,
	"secrets.yml": true, "secrets.yaml": true, "secrets.json": true, "secrets.toml": true, "auth.json": true,
	"application_default_credentials.json": true,
}

var secretSuffixes = []string{
	".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".ppk", ".kdbx", ".asc.key", ".p8", ".tfvars", ".ovpn",
}

// secretDirs are directories in which everything is taken for a secret.
var secretDirs = map[string]bool{".aws": true, ".ssh": true, ".gnupg": true, ".kube": true, ".azure": true, ".docker": true, ".gcloud": true, ".password-store": true}

// looksSecret says whether a file of that name looks like a credential. It is a guard against mistakes and no more: what
// a file holds is for its owner to know.
func looksSecret(name string) bool {
	dir, base := path.Split(name)
	for _, d := range strings.Split(strings.Trim(dir, "/"), "/") {
		if secretDirs[strings.ToLower(d)] {
			return true
		}
	}
	base = strings.ToLower(base)
	if secretNames[base] {
		return true
	}
	if base == ".env" || strings.HasPrefix(base, ".env.") {
		for _, suffix := range harmless {
			if strings.HasSuffix(base, suffix) {
				return false
			}
		}
		return true
	}
	for _, key := range []string{"id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk"} {
		if base == key || strings.HasPrefix(base, key+".") && base != key+".pub" || strings.HasPrefix(base, key+"_") && !strings.HasSuffix(base, ".pub") {
			return true
		}
	}
	for _, suffix := range secretSuffixes {
		if strings.HasSuffix(base, suffix) {
			return true
		}
	}
	return false
}

// maxTokenSearch is how much of a package manager's settings is looked at.
const maxTokenSearch = 64 << 10

// mayHoldTokens says whether a file of that name is a secret only when it holds a token.
func mayHoldTokens(name string) bool {
	switch path.Base(name) {
	case ".npmrc", ".yarnrc", ".yarnrc.yml", "pip.conf", ".gemrc", "nuget.config", "settings.xml":
		return true
	}
	return false
}

// holdsToken looks for what such files call their credentials.
func holdsToken(r io.Reader) bool {
	text, err := io.ReadAll(io.LimitReader(r, maxTokenSearch))
	if err != nil {
		return true // unread is not known to be harmless
	}
	text = bytes.ToLower(text)
	for _, word := range []string{"_authtoken", "_password", "_auth", "npmauthtoken", "cleartextpassword", "<password>", "://user:", "gemcutter_key"} {
		if bytes.Contains(text, []byte(word)) {
			return true
		}
	}
	return false
}
