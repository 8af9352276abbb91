package vm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
	"testing/fstest"

	"banger/internal/model"
)

func certificate(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func TestOnlyCertificatesAreTaken(t *testing.T) {
	t.Parallel()
	one, key := certificate(t, "one")
	two, _ := certificate(t, "two")
	file := func(parts ...[]byte) *fstest.MapFile { return &fstest.MapFile{Data: bytes.Join(parts, nil)} }
	got, err := hostAuthorities(fstest.MapFS{
		"usr/local/share/ca-certificates/a.crt":       file([]byte("a comment\n"), one, key),
		"usr/local/share/ca-certificates/sub/b.crt":   file([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
		"usr/local/share/ca-certificates/c.txt":       file(two),
		"etc/pki/ca-trust/source/anchors/company.pem": file(two),
	})
	if err != nil || !bytes.Equal(got, append(bytes.Clone(one), two...)) {
		t.Errorf("%s, %v", got, err)
	}
	if got, err = hostAuthorities(fstest.MapFS{}); err != nil || len(got) != 0 {
		t.Errorf("a host without any: %q, %v", got, err)
	}
	many := fstest.MapFS{"usr/local/share/ca-certificates/a.crt": file(bytes.Repeat(one, 1+maxAuthorities/len(one)))}
	if _, err = hostAuthorities(many); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
}
