package imagetest

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Fault is how a registry misbehaves. Pushes are not touched.
type Fault struct {
	User, Password string        // required, if there is a User
	Token          bool          // they are given to a token server, whose tokens are required
	Pause          time.Duration // before each 32 KiB of a blob
	CutAfter       int64         // bytes of a blob after which the connection ends
	Cuts           int           // how often, for all blobs together; <0 for always
	NoRanges       bool          // blobs come from their start whatever is asked
	Lie            bool          // blobs have another byte in their middle
	Longer         bool          // blobs have more bytes
	HugeManifest   int           // manifests have so many bytes
	Busy           int           // so many requests are answered 429 first; <0 for all
	Broken         int           // so many are answered 500
	NoHead         bool          // HEAD is not known
	Hold           chan struct{} // blobs are not sent until it is closed
}

// Registry is a registry on loopback.
type Registry struct {
	Host string
	*httptest.Server

	mu       sync.Mutex
	fault    Fault
	requests map[string]int
	inside   http.Handler
}

// NewRegistry starts a registry. The caller closes it.
func NewRegistry() *Registry {
	r := &Registry{requests: map[string]int{}, inside: registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)))}
	r.Server = httptest.NewServer(r)
	r.Host = r.Listener.Addr().String()
	return r
}

// NewTLSRegistry starts one with a certificate that nobody has signed.
func NewTLSRegistry() *Registry {
	r := &Registry{requests: map[string]int{}, inside: registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)))}
	r.Server = httptest.NewUnstartedServer(r)
	r.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	r.StartTLS()
	r.Host = r.Listener.Addr().String()
	return r
}

// CertificatePEM is the certificate of a registry with TLS, which is its own authority.
func (r *Registry) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})
}

// Misbehave sets the fault from now on and forgets the counts.
func (r *Registry) Misbehave(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault, r.requests = f, map[string]int{}
}

// Count says how many requests of a method there were whose path has a part: "GET", "/blobs/".
func (r *Registry) Count(method, part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for request, times := range r.requests {
		if strings.HasPrefix(request, method+" ") && strings.Contains(request, part) {
			n += times
		}
	}
	return n
}

// Push puts an image under a name such as "a/b:tag" and returns the whole reference.
func (r *Registry) Push(repository string, image v1.Image) string {
	ref, err := name.ParseReference(r.Host + "/" + repository)
	must(err)
	must(remote.Write(ref, image, remote.WithTransport(r.Client().Transport)))
	return ref.Name()
}

// PushIndex is Push for an index.
func (r *Registry) PushIndex(repository string, index v1.ImageIndex) string {
	ref, err := name.ParseReference(r.Host + "/" + repository)
	must(err)
	must(remote.WriteIndex(ref, index, remote.WithTransport(r.Client().Transport)))
	return ref.Name()
}

const token = "let-me-in"

func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	f := r.note(req)
	switch {
	case req.URL.Path == "/token":
		user, password, _ := req.BasicAuth()
		if user != f.User || password != f.Password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"token": %q}`, token)
	case req.Method != http.MethodGet && req.Method != http.MethodHead:
		r.inside.ServeHTTP(w, req)
	case f.User != "" && !r.knows(req, f):
		challenge := `Basic realm="test"`
		if f.Token {
			challenge = fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host)
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
	case r.spend(func(f *Fault) *int { return &f.Busy }):
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"errors": [{"code": "TOOMANYREQUESTS", "message": "slow down"}]}`)
	case r.spend(func(f *Fault) *int { return &f.Broken }):
		w.WriteHeader(http.StatusInternalServerError)
	case req.Method == http.MethodHead && f.NoHead:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case strings.Contains(req.URL.Path, "/manifests/") && f.HugeManifest > 0 && req.Method == http.MethodGet:
		_, _ = io.WriteString(w, `{"schemaVersion": 2, "annotations": {"x": "`+strings.Repeat("x", f.HugeManifest)+`"}}`)
	case strings.Contains(req.URL.Path, "/blobs/") && req.Method == http.MethodGet:
		r.blob(w, req, f)
	default:
		r.inside.ServeHTTP(w, req)
	}
}

func (r *Registry) note(req *http.Request) Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests[req.Method+" "+req.URL.Path]++
	return r.fault
}

// spend says whether a counted fault is due.
func (r *Registry) spend(which func(*Fault) *int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := which(&r.fault)
	if *n > 0 {
		*n--
		return true
	}
	return *n < 0
}

func (r *Registry) knows(req *http.Request, f Fault) bool {
	want := "Bearer " + token
	if !f.Token {
		want = "Basic " + base64.StdEncoding.EncodeToString([]byte(f.User+":"+f.Password))
	}
	return req.Header.Get("Authorization") == want
}

// blob serves a blob, from the offset that is asked for.
func (r *Registry) blob(w http.ResponseWriter, req *http.Request, f Fault) {
	if f.Hold != nil {
		select {
		case <-f.Hold:
		case <-req.Context().Done():
			return
		}
	}
	whole := httptest.NewRecorder()
	plain := req.Clone(req.Context())
	plain.Header.Del("Range")
	r.inside.ServeHTTP(whole, plain)
	data := whole.Body.Bytes()
	if whole.Code != http.StatusOK {
		w.WriteHeader(whole.Code)
		_, _ = w.Write(data)
		return
	}
	if f.Lie {
		data[len(data)/2] ^= 1
	}
	if f.Longer {
		data = append(data, data...)
	}
	var from int
	if _, err := fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-", &from); err == nil && !f.NoRanges && from <= len(data) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		data = data[from:]
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	}
	if f.CutAfter > 0 && int64(len(data)) > f.CutAfter && r.spend(func(f *Fault) *int { return &f.Cuts }) {
		_, _ = w.Write(data[:f.CutAfter])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	for len(data) > 0 {
		n := min(len(data), 32<<10)
		if _, err := w.Write(data[:n]); err != nil {
			return
		}
		data = data[n:]
		select {
		case <-time.After(f.Pause):
		case <-req.Context().Done():
			return
		}
	}
}
