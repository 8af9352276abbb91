package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"banger/internal/model"
)

const (
	tries   = 5
	maxWait = 30 * time.Second
	// maxWords is how much of what a registry says becomes part of a message.
	maxWords = 300
)

// Retry calls try until it succeeds, until an error that another try would not mend, or until several tries in a row
// have failed and none of them got anywhere. It waits longer each time, or as long as the registry says.
func (r *Repository) Retry(ctx context.Context, try func() (progressed bool, err error)) error {
	wait := r.wait
	for failed := 1; ; failed++ {
		progressed, err := try()
		if err == nil || !temporary(err) || ctx.Err() != nil {
			return err
		}
		if progressed {
			failed, wait = 1, r.wait
		}
		if failed >= tries {
			return err
		}
		pause := wait
		if asked := retryAfter(err); asked > 0 {
			pause = asked
		}
		timer := time.NewTimer(min(pause, maxWait))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		wait *= 2
	}
}

// temporary says whether the same request may succeed when it is made again.
func temporary(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
			http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	var timeout net.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.As(err, &timeout) && timeout.Timeout() ||
		strings.Contains(err.Error(), "http2:") // its errors have no exported types
}

// laterError is an answer that says when to ask again.
type laterError struct {
	error
	after time.Duration
}

func (e *laterError) Unwrap() error { return e.error }

func withRetryAfter(err error, res *http.Response) error {
	seconds, aerr := strconv.Atoi(res.Header.Get("Retry-After"))
	if aerr != nil || seconds < 1 {
		return err
	}
	return &laterError{error: err, after: time.Duration(min(seconds, int(maxWait/time.Second))) * time.Second}
}

func retryAfter(err error) time.Duration {
	var later *laterError
	if errors.As(err, &later) {
		return later.after
	}
	return 0
}

// Explain words an error of Blob for the user.
func (r *Repository) Explain(ctx context.Context, err error) error { return r.explain(ctx, err) }

// explain gives an error its kind and the next step.
func (r *Repository) explain(ctx context.Context, err error) error {
	host := r.ref.Context().RegistryStr()
	cannot := func(kind error, format string, args ...any) error {
		return model.Errorf(kind, "cannot pull %s: %s", r.name, fmt.Sprintf(format, args...))
	}
	var answer *transport.Error
	var dns *net.DNSError
	var untrusted *tls.CertificateVerificationError
	switch {
	case err == nil || model.KindOf(err) != nil || errors.As(err, new(*fs.PathError)): // of this host's
		return err
	case ctx.Err() != nil:
		return model.Errorf(model.ErrCanceled, "cannot pull %s: canceled: %w", r.name, context.Cause(ctx))
	case errors.As(err, &untrusted): // before what it answered to plain HTTP, which is tried next on this host
		return r.explainCertificate(untrusted.Err, cannot)
	case errors.As(err, &answer):
		return r.explainAnswer(answer, cannot)
	case errors.Is(err, errPlainHTTP) || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return cannot(model.ErrDenied, "%s speaks plain HTTP, which anyone on the way can change; if that is fine, add --insecure", host)
	case errors.As(err, &dns):
		return cannot(model.ErrUnavailable, "there is no host %s (%s); look at the name and at the network", dns.Name, brief(dns.Err))
	case errors.Is(err, syscall.ECONNREFUSED):
		return cannot(model.ErrUnavailable, "nobody answers at %s (connection refused); look at the name, the port and the network", host)
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return cannot(model.ErrUnavailable, "the connection to %s broke off again and again; nothing of it was kept; try once more", host)
	}
	return cannot(model.ErrUnavailable, "%s cannot be reached (%s); look at the name and at the network", host, brief(root(err).Error()))
}

func (r *Repository) explainAnswer(answer *transport.Error, cannot func(kind error, format string, args ...any) error) error {
	host := r.ref.Context().RegistryStr()
	words := ""
	if len(answer.Errors) > 0 {
		words = " (" + brief(string(answer.Errors[0].Code)+": "+answer.Errors[0].Message) + ")"
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return cannot(model.ErrDenied, "%s does not let us%s: it is private or not there; log in with: docker login %s", host, words, host)
	case http.StatusNotFound:
		return cannot(model.ErrNotFound, "%s has no such image%s; look at the name and the tag", host, words)
	case http.StatusTooManyRequests:
		return cannot(model.ErrUnavailable, "%s has been asked too often%s; wait a while, or log in with: docker login %s", host, words, host)
	}
	return cannot(model.ErrUnavailable, "%s answers %d %s%s; try again later", host, answer.StatusCode, http.StatusText(answer.StatusCode), words)
}

func (r *Repository) explainCertificate(why error, cannot func(kind error, format string, args ...any) error) error {
	way := ""
	if errors.As(why, new(x509.UnknownAuthorityError)) && r.certs != "" {
		way = "put the certificate of its authority into " + filepath.Join(r.certs, "ca.crt") + ", or, "
	}
	return cannot(model.ErrDenied, "the certificate of %s is not to be trusted (%s); %sif you trust the registry nevertheless, add --insecure",
		r.ref.Context().RegistryStr(), brief(why.Error()), way)
}

// root is the innermost error: those around it repeat the request.
func root(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

func brief(words string) string {
	words = strings.ToValidUTF8(strings.Join(strings.Fields(words), " "), "?")
	if len(words) > maxWords {
		return strings.ToValidUTF8(words[:maxWords], "") + "…"
	}
	return words
}
