package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	pullLayers  = 4
	pullBytes   = 16 << 20 // of a layer
	pullAllowed = 50 * time.Millisecond
)

// benchPullAgain measures a pull of what is here already beside the registry's own answer.
func benchPullAgain(ctx context.Context, s *session) (result, error) {
	dir, err := os.MkdirTemp(s.dir, "pull-")
	if err != nil {
		return result{}, err
	}
	m, err := s.imageHome(ctx, dir)
	if err != nil {
		return result{}, err
	}
	defer m.close()
	r := newRegistry()
	defer r.Close()
	ref, err := r.push(ctx)
	if err != nil {
		return result{}, err
	}
	first, err := m.timed(ctx, "image", "pull", "--quiet", ref.Name())
	if err != nil {
		return result{}, err
	}
	fetched := r.blobs.Load()
	var pairs []pair
	for i := range s.pairs {
		var p pair
		err := inTurn(i,
			func() (err error) { p.floor, err = r.ask(ctx, ref); return },
			func() (err error) { p.product, err = m.timed(ctx, "image", "pull", "--quiet", ref.Name()); return })
		if err != nil {
			return result{}, err
		}
		p.allowed = p.floor + pullAllowed
		pairs = append(pairs, p)
	}
	if now := r.blobs.Load(); fetched == 0 || now != fetched {
		return result{}, fmt.Errorf("the first pull fetched %d blobs and the others %d", fetched, now-fetched)
	}
	line := paired("`image pull` of what is here already, from a registry on loopback", "R: the registry's answer to a new client", "R + 50 ms", pairs)
	line.notes = []string{fmt.Sprintf("The first pull, of %d MiB in %d layers: %s.", pullLayers*pullBytes>>20, pullLayers, milliseconds(first))}
	return line, nil
}

// localRegistry counts the blobs that it is asked for.
type localRegistry struct {
	*httptest.Server
	blobs atomic.Int64
}

func newRegistry() *localRegistry {
	r := &localRegistry{}
	inside := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)))
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
			r.blobs.Add(1)
		}
		inside.ServeHTTP(w, req)
	}))
	return r
}

// push gives the registry an image.
func (r *localRegistry) push(ctx context.Context) (name.Reference, error) {
	image, err := random.Image(pullBytes, pullLayers)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, err
	}
	ref, err := name.ParseReference(r.Listener.Addr().String() + "/bench/image:1")
	if err != nil {
		return nil, err
	}
	return ref, remote.Write(ref, image, remote.WithContext(ctx))
}

// ask is what no client can do without, over a connection of its own: whether the registry is one, and what it has under
// the name.
func (r *localRegistry) ask(ctx context.Context, ref name.Reference) (time.Duration, error) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	begun := time.Now()
	for _, question := range []struct{ method, path string }{
		{http.MethodGet, "/v2/"},
		{http.MethodHead, "/v2/" + ref.Context().RepositoryStr() + "/manifests/" + ref.Identifier()},
	} {
		req, err := http.NewRequestWithContext(ctx, question.method, r.URL+question.path, nil)
		if err != nil {
			return 0, err
		}
		req.Header.Set("Accept", string(types.DockerManifestSchema2))
		res, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil {
			return 0, err
		}
		if res.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("the registry answers %s %s with %s", question.method, question.path, res.Status)
		}
	}
	return time.Since(begun), nil
}
