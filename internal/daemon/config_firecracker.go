package daemon

import (
	"path/filepath"

	"banger/internal/model"
)

// FirecrackerConfig is the section [firecracker] of config.toml.
type FirecrackerConfig struct {
	Program string `toml:"program"` // "" searches PATH
	Console bool   `toml:"console"`
	Jail    *bool  `toml:"jail"` // nil is true
}

// loadFirecracker returns what the file at path says of Firecracker.
func loadFirecracker(path string) (FirecrackerConfig, error) {
	file, err := readConfig(path)
	if err != nil {
		return FirecrackerConfig{}, err
	}
	if p := file.Firecracker.Program; p != "" && !filepath.IsAbs(p) {
		return FirecrackerConfig{}, configError(path, model.Errorf(model.ErrInvalid, "program = %q: the path of Firecracker must be absolute", p))
	}
	return file.Firecracker, nil
}
