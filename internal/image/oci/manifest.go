// Package oci reads what OCI and docker images say of themselves.
//
// All of it comes from strangers: it is capped, and what a guest could not be given is refused.
package oci

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"banger/internal/image/blobcache"
	"banger/internal/model"
)

// MaxLayers is the most layers that an image may have.
const MaxLayers = 128

// MaxConfig is the largest configuration that is taken.
const MaxConfig = 4 << 20

// Manifest is what an image consists of.
type Manifest struct {
	Config blobcache.Blob
	Layers []blobcache.Blob // lowest first
}

// Document is a manifest, or an index of them.
type Document struct {
	Manifest *Manifest
	Index    []Entry
}

// Entry is one manifest of an index.
type Entry struct {
	blobcache.Blob
	Platform *Platform // nil when the index does not say
	Names    []string  // what its annotations call it
}

// document has the fields of both kinds, and those by which others are told.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     types.MediaType `json:"mediaType"`
	Config        *v1.Descriptor  `json:"config"`
	Layers        []v1.Descriptor `json:"layers"`
	Manifests     []v1.Descriptor `json:"manifests"`
}

// Annotations that say what an image of a layout is called.
const (
	annotationRef   = "org.opencontainers.image.ref.name"
	annotationImage = "io.containerd.image.name"
	annotationKind  = "vnd.docker.reference.type" // of what is about an image and none itself
)

// Parse reads a manifest or an index.
func Parse(data []byte) (Document, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return Document{}, model.Errorf(model.ErrCorrupt, "its manifest cannot be read: %w", err)
	}
	switch {
	case d.SchemaVersion == 1:
		return Document{}, model.Errorf(model.ErrUnsupported, "its manifest is of docker's first kind, which is no longer used; build or push the image again")
	case d.Manifests != nil && d.Config == nil:
		return Document{Index: entries(d.Manifests)}, nil
	case d.Config == nil || d.Layers == nil:
		return Document{}, model.Errorf(model.ErrUnsupported, "it is no image: its manifest names no layers")
	}
	m, err := manifest(d)
	return Document{Manifest: m}, err
}

func manifest(d document) (*Manifest, error) {
	if t := d.Config.MediaType; t != "" && !t.IsConfig() {
		return nil, model.Errorf(model.ErrUnsupported, "it is no image that can be run, but %.100q", t)
	}
	if len(d.Layers) > MaxLayers {
		return nil, model.Errorf(model.ErrInvalid, "it has %d layers: at most %d are taken", len(d.Layers), MaxLayers)
	}
	m := &Manifest{Config: blob(*d.Config)}
	if m.Config.Size > MaxConfig {
		return nil, model.Errorf(model.ErrInvalid, "its configuration has more than %s", model.FormatSize(MaxConfig))
	}
	for _, l := range d.Layers {
		if l.MediaType != "" && !l.MediaType.IsLayer() {
			return nil, model.Errorf(model.ErrUnsupported, "it has a layer of the kind %.100q, which is no archive of files", l.MediaType)
		}
		m.Layers = append(m.Layers, blob(l))
	}
	return m, nil
}

func blob(d v1.Descriptor) blobcache.Blob {
	return blobcache.Blob{Digest: model.Digest(d.Digest.String()), Size: d.Size}
}

func entries(all []v1.Descriptor) []Entry {
	list := []Entry{}
	for _, d := range all {
		if d.Annotations[annotationKind] != "" {
			continue
		}
		e := Entry{Blob: blob(d)}
		if p := d.Platform; p != nil {
			e.Platform = &Platform{OS: p.OS, Arch: p.Architecture, Variant: p.Variant}
		}
		for _, key := range []string{annotationImage, annotationRef} {
			if name := d.Annotations[key]; name != "" {
				e.Names = append(e.Names, name)
			}
		}
		list = append(list, e)
	}
	return list
}

// Choose returns the entry of an index for a platform.
func Choose(index []Entry, want Platform) (Entry, error) {
	var fitting []Entry
	var others []string
	for _, e := range index {
		switch {
		case e.Platform == nil, e.Platform.fits(want):
			fitting = append(fitting, e)
		case e.Platform.OS != "unknown" && len(others) < 20:
			others = append(others, e.Platform.String())
		}
	}
	if len(fitting) == 0 {
		return Entry{}, wrongPlatform(want, others)
	}
	// One that says its platform before one that does not, and of several variants the oldest, which runs anywhere.
	return slices.MinFunc(fitting, func(a, b Entry) int { return strings.Compare(a.rank(), b.rank()) }), nil
}

func (e Entry) rank() string {
	if e.Platform == nil {
		return "~"
	}
	return e.Platform.Variant
}

func wrongPlatform(want Platform, have []string) error {
	text := ""
	if len(have) > 0 {
		text = fmt.Sprintf(" but for %s", strings.Join(have, ", "))
	}
	return model.Errorf(model.ErrNotFound, "there is none for %s%s; a VM of this host runs linux/amd64 and linux/386", want, text)
}
