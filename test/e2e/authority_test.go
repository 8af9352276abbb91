//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// authorityDir is where Debian's administrators put certificate authorities of their own.
const authorityDir = "/usr/local/share/ca-certificates"

// makeAuthority makes a certificate authority that the world's host trusts, and a certificate by it for web.example.
func makeAuthority(dir string) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the world's authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	web := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"web.example"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	webDER, err := x509.CreateCertificate(rand.Reader, web, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	trusted := filepath.Join(dir, "trusted")
	if err := os.Mkdir(trusted, 0o755); err != nil {
		return err
	}
	for path, block := range map[string]*pem.Block{
		filepath.Join(trusted, "world.crt"): {Type: "CERTIFICATE", Bytes: caDER},
		filepath.Join(dir, "web.crt"):       {Type: "CERTIFICATE", Bytes: webDER},
		filepath.Join(dir, "web.key"):       {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	if err := unix.Mount(trusted, authorityDir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot have the world's host trust its authority: %w", err)
	}
	return nil
}

// serveSecurely serves a page over TLS.
func serveSecurely(dir, at string) error {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "web.crt"), filepath.Join(dir, "web.key"))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp4", at)
	if err != nil {
		return err
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a secure page\n") })
	go func() {
		_ = http.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}}), page)
	}()
	return nil
}
