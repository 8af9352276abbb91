package vm

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"banger/internal/model"
)

// maxAuthorities caps the certificates that a guest is given.
const maxAuthorities = 512 << 10

// hostAuthorities returns, as PEM, the certificate authorities that the host's administrator has added to those of its
// distribution. Nothing but certificates is taken from the files.
func hostAuthorities(host fs.FS) ([]byte, error) {
	var all bytes.Buffer
	for _, dir := range []string{
		"usr/local/share/ca-certificates",          // Debian and Alpine
		"etc/pki/ca-trust/source/anchors",          // Fedora
		"etc/ca-certificates/trust-source/anchors", // Arch
	} {
		err := fs.WalkDir(host, dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			switch strings.ToLower(path.Ext(name)) {
			case ".crt", ".pem", ".cer":
				return addAuthorities(&all, host, name)
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, model.HostErrorf(err, "cannot read the host's certificate authorities")
		}
	}
	return all.Bytes(), nil
}

func addAuthorities(all *bytes.Buffer, host fs.FS, name string) error {
	file, err := host.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxAuthorities+1))
	if err != nil {
		return err
	}
	if len(text) > maxAuthorities {
		return tooManyAuthorities()
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil
		}
		if _, err := x509.ParseCertificate(block.Bytes); block.Type != "CERTIFICATE" || err != nil {
			continue
		}
		if err := pem.Encode(all, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			return err
		}
		if all.Len() > maxAuthorities {
			return tooManyAuthorities()
		}
	}
}

func tooManyAuthorities() error {
	return model.Errorf(model.ErrInvalid, "the certificate authorities that were added to this host are larger than %s together: make the VM without --ca",
		model.FormatSize(maxAuthorities))
}
