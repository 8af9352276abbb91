package image

import (
	"context"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/image/blobcache"
	"banger/internal/image/layers"
	"banger/internal/image/oci"
	"banger/internal/image/refname"
	"banger/internal/image/registry"
	"banger/internal/model"
)

// downloads is how many layers of an image are fetched at once.
const downloads = 3

func (s *Service) layerCache() blobcache.Cache { return blobcache.Cache{Dir: s.layersDir()} }

// Pull makes an image of what a registry has under w.Ref, whatever is here under that name, and gives it the name. What is
// here already is not made again, and layers that are here are not fetched again. Of several that pull a name at once, in
// any number of processes, one does it and the others find it done.
func (s *Service) Pull(ctx context.Context, w Want, report model.Report) (model.Image, error) {
	n, err := refname.ParseReference(w.Ref)
	if err != nil {
		return model.Image{}, err
	}
	platform, err := oci.ParsePlatform(w.Platform)
	if err != nil {
		return model.Image{}, err
	}
	claim, err := s.claimName(ctx, "pull "+n.String())
	if err != nil {
		return model.Image{}, err
	}
	defer claim.Drop() //nolint:errcheck // an empty file, which the next one takes
	if w.Policy == PullMissing || w.Policy == "" {
		if there, err := s.Image(ctx, n.String()); err == nil && there.Platform == platform.String() {
			return as(there, n.String()), nil // somebody was faster
		}
	}
	report(model.Progress{Stage: "ask the registry"})
	repo, err := registry.Open(ctx, n, registry.Options{Insecure: w.Insecure, Keychain: s.keychain, CertDirs: s.certDirs, Wait: s.wait})
	if err != nil {
		return model.Image{}, s.explain(ctx, err, "pull "+n.String())
	}
	defer repo.Close()
	p := &pull{Service: s, name: n, platform: platform, repo: repo, report: report}
	made, err := p.run(ctx)
	return made, s.explain(ctx, err, "pull "+n.String())
}

// pull is one pull under way.
type pull struct {
	*Service
	name     refname.Name
	platform oci.Platform
	repo     *registry.Repository
	report   model.Report
}

func (p *pull) run(ctx context.Context) (model.Image, error) {
	// A registry that cannot say what it has under a name is asked for all of it.
	if digest, err := p.repo.Head(ctx); err == nil && digest != "" {
		if there, ok, err := p.known(ctx, func(i model.Image) bool { return i.Reference == p.reference(digest) }); ok || err != nil {
			return there, err
		}
	}
	found, err := p.resolve(ctx)
	if err != nil {
		return model.Image{}, err
	}
	if there, ok, err := p.known(ctx, func(i model.Image) bool { return i.Manifest == found.digest && i.Reference != "" }); ok || err != nil {
		return there, err
	}
	return p.create(ctx, func(ctx context.Context, dir string, work scratch) (fresh, error) {
		return p.assemble(ctx, dir, work, found)
	}, p.report)
}

// known names an image that is here already, and returns it.
func (p *pull) known(ctx context.Context, same func(model.Image) bool) (model.Image, bool, error) {
	all, err := p.catalog.Images(ctx)
	if err != nil {
		return model.Image{}, false, err
	}
	for _, i := range all {
		if !same(i) || i.Platform != p.platform.String() || p.Verify(ctx, i.Digest) != nil {
			continue // what is damaged is made again: that is what whoever meets it is told to pull for
		}
		if tagMeant(i, p.name.String()) == "" {
			if err := p.giveName(ctx, p.name.String(), i.Digest); err != nil {
				return i, true, err
			}
		}
		i, err := p.Image(ctx, string(i.Digest))
		return as(i, p.name.String()), true, err
	}
	return model.Image{}, false, nil
}

func (p *pull) reference(d model.Digest) string { return p.name.Repository() + "@" + string(d) }

// resolved is what a name means at a registry.
type resolved struct {
	top      model.Digest // of what the registry has under the name
	digest   model.Digest // of the platform's manifest
	manifest *oci.Manifest
}

// maxNesting is how deep indexes of indexes are followed.
const maxNesting = 3

func (p *pull) resolve(ctx context.Context) (resolved, error) {
	var r resolved
	id := model.Digest("")
	for range maxNesting + 1 {
		data, digest, err := p.repo.Manifest(ctx, id)
		if err != nil {
			return r, err
		}
		if r.digest = digest; r.top == "" {
			r.top = digest
		}
		doc, err := oci.Parse(data)
		if err != nil {
			return r, err
		}
		if doc.Manifest != nil {
			r.manifest = doc.Manifest
			return r, nil
		}
		entry, err := oci.Choose(doc.Index, p.platform)
		if err != nil {
			return r, err
		}
		if id = entry.Digest; !id.Valid() {
			return r, model.Errorf(model.ErrUnsupported, "its manifest is known by %.80q, which is no SHA-256", id)
		}
	}
	return r, model.Errorf(model.ErrUnsupported, "its indexes lie too deep in each other")
}

// assemble downloads what is missing and makes the root file. Nobody clears the cache meanwhile.
func (p *pull) assemble(ctx context.Context, dir string, work scratch, found resolved) (fresh, error) {
	lock, err := p.lock(ctx, p.layersDir(), buildsLock, unix.LOCK_SH)
	if err != nil {
		return fresh{}, err
	}
	defer lock.Close()
	config, err := p.config(ctx, found.manifest.Config)
	if err != nil {
		return fresh{}, err
	}
	crash.At("image.pull.before-layers")
	ls, err := p.layers(ctx, found.manifest.Layers)
	if err != nil {
		return fresh{}, err
	}
	crash.At("image.pull.after-layers")
	made, err := p.flatten(ctx, dir, work, ls, config, p.report)
	made.Name, made.Source, made.Reference, made.Manifest = p.name.String(), "pulled", p.reference(found.top), found.digest
	return made, err
}

func (p *pull) config(ctx context.Context, b blobcache.Blob) (oci.Config, error) {
	path, err := p.blob(ctx, b, func(int64) {})
	if err != nil {
		return oci.Config{}, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return oci.Config{}, err
	}
	return oci.ParseConfig(data, p.platform)
}

// layers fetches the layers, a few at once, and returns them in their order.
func (p *pull) layers(ctx context.Context, blobs []blobcache.Blob) ([]layers.Layer, error) {
	var total int64
	for _, b := range blobs {
		if total += b.Size; b.Size < 0 || total > p.limits.Bytes {
			return nil, model.Errorf(model.ErrInvalid, "its layers have more than %s; if you trust it, raise max-bytes below [images] in config.toml", model.FormatSize(p.limits.Bytes))
		}
	}
	var done atomic.Int64
	tell := byteProgressOf("download the layers", total, p.report)
	told := make(chan struct{}, 1) // one teller at a time; others leave it to that one
	progress := func(more int64) {
		now := done.Add(more)
		select {
		case told <- struct{}{}:
			tell(now)
			<-told
		default:
		}
	}
	ls := make([]layers.Layer, len(blobs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(downloads)
	for i, b := range blobs {
		group.Go(func() error {
			path, err := p.blob(ctx, b, progress)
			ls[i] = fileLayer(path, b.Size)
			return err
		})
	}
	return ls, group.Wait()
}

func (p *pull) blob(ctx context.Context, b blobcache.Blob, progress func(int64)) (string, error) {
	path, err := p.layerCache().Get(ctx, b, blobcache.Source{Open: p.repo.Blob, Retry: p.repo.Retry}, progress)
	return path, p.repo.Explain(ctx, err)
}

func fileLayer(path string, size int64) layers.Layer {
	return layers.Layer{Size: size, Open: func(context.Context) (io.ReadCloser, error) {
		return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	}}
}
