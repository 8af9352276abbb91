package oci

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"banger/internal/model"
)

// Caps on what is kept of an image's labels: nothing in banger depends on them.
const (
	maxLabels     = 200
	maxLabelBytes = 32 << 10
)

// Config is what an image says of the commands that run in it.
type Config struct {
	Platform   Platform
	Entrypoint []string
	Cmd        []string
	Env        []string
	Workdir    string
	User       string
	StopSignal string
	Labels     map[string]string
	DiffIDs    []model.Digest // of the layers uncompressed, lowest first
}

// ParseConfig reads an image's configuration and refuses what no command could be given. An image for another platform
// than want is ErrNotFound.
func ParseConfig(data []byte, want Platform) (Config, error) {
	var file v1.ConfigFile
	if err := json.Unmarshal(data, &file); err != nil {
		return Config{}, model.Errorf(model.ErrCorrupt, "its configuration cannot be read: %w", err)
	}
	c := Config{
		Platform:   Platform{OS: file.OS, Arch: file.Architecture, Variant: file.Variant},
		Entrypoint: file.Config.Entrypoint, Cmd: file.Config.Cmd, Workdir: file.Config.WorkingDir, User: file.Config.User,
		StopSignal: file.Config.StopSignal, Labels: capLabels(file.Config.Labels),
	}
	if len(file.RootFS.DiffIDs) > MaxLayers {
		return Config{}, model.Errorf(model.ErrInvalid, "it has %d layers: at most %d are taken", len(file.RootFS.DiffIDs), MaxLayers)
	}
	for _, id := range file.RootFS.DiffIDs {
		c.DiffIDs = append(c.DiffIDs, model.Digest(id.String()))
	}
	// Docker's oldest images say nothing of their platform.
	if c.Platform.OS == "" && c.Platform.Arch == "" {
		c.Platform = want
	}
	if !c.Platform.fits(Platform{OS: want.OS, Arch: want.Arch}) {
		return Config{}, wrongPlatform(want, []string{c.Platform.String()})
	}
	for _, kv := range file.Config.Env {
		if name, _, ok := strings.Cut(kv, "="); ok && name != "" {
			c.Env = append(c.Env, kv)
		}
	}
	if c.Workdir != "" {
		c.Workdir = path.Clean("/" + c.Workdir)
	}
	return c, c.check()
}

func (c Config) check() error {
	command := append(slices.Clone(c.Entrypoint), c.Cmd...)
	if len(command) == 0 || command[0] == "" {
		command = []string{"none"}
	}
	if err := (model.ExecSpec{Argv: command, Env: c.Env, Workdir: c.Workdir, User: c.User}).Validate(); err != nil {
		return model.Errorf(model.ErrInvalid, "its configuration is not possible: %w", err)
	}
	if c.StopSignal != "" {
		if _, err := model.ParseSignal(c.StopSignal); err != nil {
			return model.Errorf(model.ErrInvalid, "its configuration is not possible: %w", err)
		}
	}
	return nil
}

// capLabels keeps as many as fit, in the order of their names.
func capLabels(all map[string]string) map[string]string {
	var kept map[string]string
	left := maxLabelBytes
	for _, key := range slices.Sorted(maps.Keys(all)) {
		left -= len(key) + len(all[key])
		if left < 0 || len(kept) == maxLabels {
			break
		}
		if kept == nil {
			kept = map[string]string{}
		}
		kept[key] = all[key]
	}
	return kept
}
