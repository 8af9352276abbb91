package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"banger/internal/image/refname"
	"banger/internal/model"
)

func request(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRedirectsStayOutside(t *testing.T) {
	t.Parallel()
	from := []*http.Request{request(t, "https://registry.example/v2/a/blobs/x")}
	for url, allowed := range map[string]bool{
		"https://cdn.example/blob": true, "https://registry.example/other": true, "https://198.51.100.7/blob": true,
		"http://169.254.169.254/latest/meta-data": false, "https://127.0.0.1/x": false, "https://10.1.2.3/x": false, "https://[::1]/x": false,
		"https://[::ffff:192.168.0.1]/x": false, "https://0.0.0.0/x": false, "https://[fe80::1]/x": false,
	} {
		if err := checkRedirect(request(t, url), from); (err == nil) != allowed {
			t.Errorf("%s: %v", url, err)
		}
	}
	local := []*http.Request{request(t, "http://127.0.0.1:5000/v2/")}
	if err := checkRedirect(request(t, "http://127.0.0.1:5001/x"), local); err != nil {
		t.Errorf("from this host to this host: %v", err)
	}
	if err := checkRedirect(request(t, "https://cdn.example/x"), make([]*http.Request, 11)); err == nil {
		t.Error("it may redirect for ever")
	}
}

func TestPlainHTTPOnlyToThisHost(t *testing.T) {
	t.Parallel()
	for url, allowed := range map[string]bool{
		"http://127.0.0.1:5000/": true, "http://localhost/": true, "http://x.localhost:5/": true, "http://[::1]:5/": true,
		"http://10.0.0.1/": false, "http://192.168.1.1:5000/": false, "http://registry.example/": false, "https://registry.example/": true,
	} {
		for _, insecure := range []bool{false, true} {
			g := &guard{insecure: insecure, next: answer(func(*http.Request) (*http.Response, error) { return nil, io.EOF })}
			_, err := g.RoundTrip(request(t, url)) //nolint:bodyclose // there is no answer
			if reached := errors.Is(err, io.EOF); reached != (allowed || insecure) {
				t.Errorf("%s, insecure %v: %v", url, insecure, err)
			}
		}
	}
}

type answer func(*http.Request) (*http.Response, error)

func (a answer) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

// TestStalledBody ends a body of which nothing comes any more.
func TestStalledBody(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	defer w.Close()
	body := watchBody(r, 10*time.Millisecond)
	defer body.Close()
	go func() { _, _ = w.Write([]byte("x")) }()
	data, err := io.ReadAll(body)
	if string(data) != "x" || !errors.Is(err, io.ErrUnexpectedEOF) || !temporary(err) {
		t.Errorf("%q, %v", data, err)
	}
}

func TestRetryWaitsAsTold(t *testing.T) {
	t.Parallel()
	r := &Repository{wait: time.Nanosecond}
	n := 0
	err := r.Retry(t.Context(), func() (bool, error) { n++; return false, io.ErrUnexpectedEOF })
	if n != tries || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d tries, %v", n, err)
	}
	n = 0
	if err := r.Retry(t.Context(), func() (bool, error) { n++; return n < 20, io.ErrUnexpectedEOF }); err == nil || n != 18+tries {
		t.Errorf("with progress: %d tries, %v", n, err)
	}
	n = 0
	if err := r.Retry(t.Context(), func() (bool, error) { n++; return false, io.ErrClosedPipe }); err == nil || n != 1 {
		t.Errorf("in vain: %d tries, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	slow := &Repository{wait: time.Hour}
	err = slow.Retry(ctx, func() (bool, error) { cancel(); return false, io.ErrUnexpectedEOF })
	if err == nil {
		t.Error("a canceled wait succeeded")
	}
}

// TestWordsAreCut is of a registry that talks too much.
func TestWordsAreCut(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/v2/") {
			return
		}
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"errors": [{"code": "DENIED", "message": "`+strings.Repeat(`words\n`, 5000)+`"}]}`)
	}))
	defer s.Close()
	n, err := refname.ParseReference(strings.TrimPrefix(s.URL, "http://") + "/a:b")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), n, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, _, err = r.Manifest(t.Context(), "")
	if !errors.Is(err, model.ErrDenied) || len(err.Error()) > 800 || strings.Contains(err.Error(), "\n") {
		t.Errorf("%d characters: %v", len(err.Error()), err)
	}
}
