// Package registry speaks to the registries that images are pulled from.
//
// A registry is hostile: what it sends is capped and taken for nothing before its digest was checked, it cannot send us to
// plain HTTP or to an address of this network, and its words are cut before they become part of a message.
package registry

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"banger/internal/image/refname"
	"banger/internal/model"
	"banger/internal/version"
)

// MaxManifest is the largest manifest or index that is taken.
const MaxManifest = 4 << 20

const (
	dialTime   = 10 * time.Second
	answerTime = 30 * time.Second // from a request to the head of its answer
	stallTime  = time.Minute      // without a byte of a body
)

// Options say how to reach a registry.
type Options struct {
	Insecure bool           // plain HTTP and unknown certificates are fine
	Keychain authn.Keychain // who we are; nil for nobody
	CertDirs []string       // where registries' own authorities are, as CertDirs returns it
	Wait     time.Duration  // before a second try, and twice as long before each one more
}

// Repository is one repository of a registry, with whatever authentication it wanted. It is safe for concurrent use.
type Repository struct {
	name   refname.Name
	ref    name.Reference
	client *http.Client
	base   *http.Transport
	wait   time.Duration
	certs  string // where an authority of its own would be looked for, or ""
}

// Open makes itself known to the registry of n.
func Open(ctx context.Context, n refname.Name, o Options) (*Repository, error) {
	ref, err := n.Reference(o.Insecure)
	if err != nil {
		return nil, model.Errorf(model.ErrInvalid, "cannot pull %s: %w", n, err)
	}
	r := &Repository{name: n, ref: ref, base: newTransport(o.Insecure), wait: o.Wait}
	host := ref.Context().RegistryStr()
	if r.base.TLSClientConfig.RootCAs, err = authorities(host, o.CertDirs); err != nil {
		return nil, model.Errorf(model.ErrInvalid, "cannot pull %s: the certificate authorities of %s cannot be used: %w; mend or remove that file", n, host, err)
	}
	if len(o.CertDirs) > 0 {
		r.certs = filepath.Join(o.CertDirs[0], host)
	}
	auth := authn.Anonymous
	if o.Keychain != nil {
		if auth, err = authn.Resolve(ctx, o.Keychain, ref.Context()); err != nil {
			return nil, model.Errorf(model.ErrDenied, "cannot pull %s: docker's credentials for %s cannot be read: %s; log in again with: docker login %s",
				n, ref.Context().RegistryStr(), brief(err.Error()), ref.Context().RegistryStr())
		}
	}
	plain := transport.NewUserAgent(&guard{next: r.base, insecure: o.Insecure}, "banger/"+version.Version)
	err = r.Retry(ctx, func() (bool, error) {
		known, err := transport.NewWithContext(ctx, ref.Context().Registry, auth, plain, []string{ref.Scope(transport.PullScope)})
		r.client = &http.Client{Transport: known, CheckRedirect: checkRedirect}
		return false, err
	})
	if err != nil {
		r.Close()
		return nil, r.explain(ctx, err)
	}
	return r, nil
}

// Close lets go of the connections.
func (r *Repository) Close() { r.base.CloseIdleConnections() }

func newTransport(insecure bool) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTime}).DialContext,
		TLSHandshakeTimeout:    dialTime,
		ResponseHeaderTimeout:  answerTime,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // a digest is of the bytes as they are
		MaxResponseHeaderBytes: 1 << 20,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: insecure}, //nolint:gosec // the user asked for it
	}
}

// Head asks which digest the reference has now. A registry that does not say gives "".
func (r *Repository) Head(ctx context.Context) (model.Digest, error) {
	var digest model.Digest
	err := r.Retry(ctx, func() (bool, error) {
		res, err := r.ask(ctx, http.MethodHead, "manifests", r.ref.Identifier(), manifestHeader())
		if err != nil {
			return false, err
		}
		res.Body.Close()
		if d := model.Digest(res.Header.Get("Docker-Content-Digest")); d.Valid() {
			digest = d
		}
		return false, nil
	})
	return digest, r.explain(ctx, err)
}

// Manifest returns a manifest or an index with its digest: the one of the reference where id is "", else that one, and
// then only if its bytes have this digest.
func (r *Repository) Manifest(ctx context.Context, id model.Digest) ([]byte, model.Digest, error) {
	which := string(id)
	if which == "" {
		which = r.ref.Identifier()
		id = r.name.Digest()
	}
	var data []byte
	err := r.Retry(ctx, func() (bool, error) {
		res, err := r.ask(ctx, http.MethodGet, "manifests", which, manifestHeader())
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		data, err = io.ReadAll(io.LimitReader(watchBody(res.Body, stallTime), MaxManifest+1))
		return false, err
	})
	if err != nil {
		return nil, "", r.explain(ctx, err)
	}
	got := model.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(data)))
	switch {
	case len(data) > MaxManifest:
		return nil, "", model.Errorf(model.ErrInvalid, "cannot pull %s: its manifest has more than %s", r.name, model.FormatSize(MaxManifest))
	case id != "" && got != id:
		return nil, "", model.Errorf(model.ErrCorrupt, "cannot pull %s: the registry sent another manifest than the one of digest %s; nothing of it was kept", r.name, id)
	}
	return data, got, nil
}

// Blob opens a blob at an offset. A registry that knows no ranges gives it from the start; at says where the bytes begin.
func (r *Repository) Blob(ctx context.Context, d model.Digest, offset int64) (body io.ReadCloser, at int64, err error) {
	header := http.Header{}
	if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	res, err := r.ask(ctx, http.MethodGet, "blobs", string(d), header)
	if err != nil {
		return nil, 0, err
	}
	if res.StatusCode == http.StatusPartialContent {
		var from int64
		if _, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-", &from); err != nil || from != offset {
			res.Body.Close()
			return nil, 0, fmt.Errorf("the registry sent another range than the one asked for: %w", io.ErrUnexpectedEOF)
		}
		at = from
	}
	return watchBody(res.Body, stallTime), at, nil
}

func (r *Repository) ask(ctx context.Context, method, kind, id string, header http.Header) (*http.Response, error) {
	repo := r.ref.Context()
	target := fmt.Sprintf("%s://%s/v2/%s/%s/%s", repo.Scheme(), repo.RegistryStr(), repo.RepositoryStr(), kind, id)
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	res, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(res, http.StatusOK, http.StatusPartialContent); err != nil {
		res.Body.Close()
		return nil, withRetryAfter(err, res)
	}
	return res, nil
}

func manifestHeader() http.Header {
	return http.Header{"Accept": {strings.Join([]string{
		string(types.OCIImageIndex), string(types.DockerManifestList), string(types.OCIManifestSchema1), string(types.DockerManifestSchema2),
	}, ", ")}}
}

// guard refuses plain HTTP but to this host.
type guard struct {
	next     http.RoundTripper
	insecure bool
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !g.insecure && !isLoopback(req.URL.Hostname()) {
		return nil, errPlainHTTP
	}
	return g.next.RoundTrip(req)
}

var errPlainHTTP = errors.New("it speaks plain HTTP")

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.IsLoopback()
}

// checkRedirect lets a registry send us to where its blobs are, but not to an address inside of our network or host that
// it is not at itself.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > 10 {
		return errors.New("it redirects for ever")
	}
	host := req.URL.Hostname()
	if host == via[0].URL.Hostname() {
		return nil
	}
	addr, err := netip.ParseAddr(host)
	if addr = addr.Unmap(); err == nil && (addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsUnspecified()) {
		return fmt.Errorf("it redirects to %s, an address of this network", addr)
	}
	return nil
}

// watchedBody ends when nothing has come for a while: a connection that hangs is as good as a broken one.
type watchedBody struct {
	io.ReadCloser
	limit time.Duration
	timer *time.Timer
}

func watchBody(body io.ReadCloser, limit time.Duration) *watchedBody {
	return &watchedBody{ReadCloser: body, limit: limit, timer: time.AfterFunc(limit, func() { body.Close() })}
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !b.timer.Stop() {
		return n, fmt.Errorf("nothing came for %s: %w", b.limit, io.ErrUnexpectedEOF)
	}
	b.timer.Reset(b.limit)
	return n, err
}

func (b *watchedBody) Close() error {
	b.timer.Stop()
	return b.ReadCloser.Close()
}
