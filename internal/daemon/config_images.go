package daemon

import (
	"banger/internal/image/layers"
	"banger/internal/model"
)

// imagesConfig are the limits on images that are imported and pulled; what is not said keeps its default.
type imagesConfig struct {
	MaxBytes   string `toml:"max-bytes"`
	MaxRatio   int64  `toml:"max-ratio"`
	MaxEntries int    `toml:"max-entries"`
	MaxPath    int    `toml:"max-path"`
	MaxDepth   int    `toml:"max-depth"`
	MaxLayers  int    `toml:"max-layers"`
	MaxIndex   string `toml:"max-index"`
}

// loadLimits returns the limits on images, with what the file at path says.
func loadLimits(path string) (layers.Limits, error) {
	limits := layers.DefaultLimits()
	file, err := readConfig(path)
	if err != nil {
		return limits, err
	}
	c := file.Images
	for _, size := range []struct {
		text string
		to   *int64
	}{{c.MaxBytes, &limits.Bytes}, {c.MaxIndex, &limits.Index}} {
		if size.text == "" {
			continue
		}
		if *size.to, err = model.ParseSize(size.text); err != nil {
			return limits, configError(path, err)
		}
	}
	if c.MaxRatio != 0 {
		limits.Ratio = c.MaxRatio
	}
	for _, count := range []struct {
		name string
		said int
		to   *int
	}{
		{"max-entries", c.MaxEntries, &limits.Entries}, {"max-path", c.MaxPath, &limits.Path}, {"max-depth", c.MaxDepth, &limits.Depth},
		{"max-layers", c.MaxLayers, &limits.Layers}, {"max-ratio", int(c.MaxRatio), new(int)},
	} {
		if count.said < 0 {
			return limits, configError(path, model.Errorf(model.ErrInvalid, "%s cannot be negative", count.name))
		}
		if count.said > 0 {
			*count.to = count.said
		}
	}
	return limits, nil
}
