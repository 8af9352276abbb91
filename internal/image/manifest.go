package image

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"banger/internal/model"
)

const (
	manifestFile   = "manifest.json"
	manifestFormat = 1
	maxManifest    = 4 << 20
)

// manifest describes a blob by itself: what its row says, and what its files must be.
type manifest struct {
	Format int                 `json:"format"`
	Image  *imageManifest      `json:"image,omitempty"`
	Kernel *kernelManifest     `json:"kernel,omitempty"`
	Files  map[string]fileInfo `json:"files"`
}

type fileInfo struct {
	Digest model.Digest `json:"digest"`
	Bytes  int64        `json:"bytes"`
	// Segments says that the digest is of the file's data alone, in segments (sparse.SegmentDigest). Files of earlier
	// versions are known by one of their data as a whole (Data, sparse.DataDigest), and before that by the SHA-256 of all
	// their bytes, of which most are zeros that take seconds.
	Segments bool `json:"segments,omitempty"`
	Data     bool `json:"data,omitempty"`
}

type imageManifest struct {
	Digest     model.Digest      `json:"digest"`
	Name       string            `json:"name"`
	Tags       []string          `json:"tags,omitempty"`
	Arch       string            `json:"arch"`
	Platform   string            `json:"platform,omitempty"`
	Source     string            `json:"source"`
	Reference  string            `json:"reference,omitempty"`
	Manifest   model.Digest      `json:"manifest,omitempty"`
	Init       model.InitMode    `json:"init"`
	InitPath   string            `json:"init_path,omitempty"`
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	Env        []string          `json:"env,omitempty"`
	Workdir    string            `json:"workdir,omitempty"`
	User       string            `json:"user,omitempty"`
	StopSignal string            `json:"stop_signal,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	SizeBytes  int64             `json:"size_bytes"`
	DiskBytes  int64             `json:"disk_bytes"`
	CreatedAt  time.Time         `json:"created_at"`
}

type kernelManifest struct {
	Digest       model.Digest `json:"digest"`
	Name         string       `json:"name"`
	Arch         string       `json:"arch"`
	Release      string       `json:"release"`
	Source       string       `json:"source"`
	EarlyModules []string     `json:"early_modules"`
	SizeBytes    int64        `json:"size_bytes"`
	CreatedAt    time.Time    `json:"created_at"`
}

// digest returns the digest that the blob claims to have, or "".
func (m manifest) digest() model.Digest {
	switch {
	case m.Image != nil:
		return m.Image.Digest
	case m.Kernel != nil:
		return m.Kernel.Digest
	}
	return ""
}

// readManifest reads the manifest of the blob in dir. ErrNotFound when there is none, ErrCorrupt when it cannot be one.
func readManifest(dir string) (manifest, error) {
	path := filepath.Join(dir, manifestFile)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{}, model.Errorf(model.ErrNotFound, "%s is missing", path)
	}
	if err != nil {
		return manifest{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxManifest {
		return manifest{}, model.Errorf(model.ErrCorrupt, "%s is not a manifest", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return manifest{}, err
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil || m.Format != manifestFormat || !m.digest().Valid() {
		return manifest{}, model.Errorf(model.ErrCorrupt, "%s is not a manifest of this version", path)
	}
	return m, nil
}

func (m manifest) encode() ([]byte, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	return append(data, '\n'), err
}

func (m manifest) name() string {
	if m.Image != nil {
		return m.Image.Name
	}
	return m.Kernel.Name
}
