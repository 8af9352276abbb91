package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/rootdisk"
)

// fileConfig is config.toml: what new VMs get when the command does not say.
type fileConfig struct {
	Image    string `toml:"image"`
	Kernel   string `toml:"kernel"`
	VCPUs    *int   `toml:"vcpus"`
	Memory   string `toml:"memory"`
	DiskSize string `toml:"disk-size"`
	Network  string `toml:"network"`
	RootDisk string `toml:"root-disk"`
	Carrier  string `toml:"network-driver"`

	Images      imagesConfig      `toml:"images"`
	Firecracker FirecrackerConfig `toml:"firecracker"`
}

// loadDefaults returns the shape of a VM for which nothing is said: the built-in one, changed by the file at path. Its
// image is "" unless the file names one: then it is the promoted one. A missing file is fine; an unknown key is an error with its line, since a misspelt key would be silently ignored.
func loadDefaults(path string) (model.Spec, error) {
	spec := model.Spec{
		Kernel: model.DefaultKernel, VCPUs: model.DefaultVCPUs,
		MemoryBytes: model.DefaultMemoryBytes, DiskBytes: model.DefaultDiskBytes, Network: model.DefaultPolicy,
	}
	file, err := readConfig(path)
	if err != nil {
		return spec, err
	}
	if file.Image != "" {
		spec.Image = file.Image
	}
	if file.Kernel != "" {
		spec.Kernel = file.Kernel
	}
	if file.Network != "" {
		spec.Network = file.Network
	}
	if file.VCPUs != nil {
		spec.VCPUs = *file.VCPUs
	}
	for _, size := range []struct {
		text string
		to   *int64
	}{{file.Memory, &spec.MemoryBytes}, {file.DiskSize, &spec.DiskBytes}} {
		if size.text == "" {
			continue
		}
		if *size.to, err = model.ParseSize(size.text); err != nil {
			return spec, configError(path, err)
		}
	}
	if err := spec.Validate(); err != nil {
		return spec, configError(path, err)
	}
	return spec, nil
}

// loadRootDisk returns the name of the root disk driver that the file at path chooses among those, or "".
func loadRootDisk(path string, drivers []rootdisk.Driver) (string, error) {
	file, err := readConfig(path)
	if err != nil {
		return "", err
	}
	return file.RootDisk, known(path, "root-disk", file.RootDisk, driverNames(drivers))
}

// loadNetwork returns the name of the network driver that the file at path chooses among those, or "".
func loadNetwork(path string, drivers []network.Driver) (string, error) {
	file, err := readConfig(path)
	if err != nil {
		return "", err
	}
	return file.Carrier, known(path, "network-driver", file.Carrier, driverNames(drivers))
}

// known refuses the name of a driver that is none of those.
func known(path, key, name string, names []string) error {
	if name == "" || slices.Contains(names, name) {
		return nil
	}
	return configError(path, model.Errorf(model.ErrInvalid, "%s = %q: there are %s", key, name, strings.Join(names, ", ")))
}

func readConfig(path string) (fileConfig, error) {
	var file fileConfig
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return file, nil
	}
	if err != nil {
		return file, configError(path, err)
	}
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&file); err != nil {
		return file, configError(path, err)
	}
	return file, nil
}

func configError(path string, err error) error {
	text := err.Error()
	var strict *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch {
	case errors.As(err, &strict):
		var unknown []string
		for _, e := range strict.Errors {
			line, _ := e.Position()
			unknown = append(unknown, fmt.Sprintf("line %d: there is no key %q", line, strings.Join(e.Key(), ".")))
		}
		text = strings.Join(unknown, ", ")
	case errors.As(err, &wrong):
		line, _ := wrong.Position()
		text = fmt.Sprintf("line %d: %q is not what this key takes", line, strings.Join(wrong.Key(), "."))
		if len(wrong.Key()) == 0 {
			text = fmt.Sprintf("line %d is not TOML: %s", line, strings.TrimPrefix(wrong.Error(), "toml: "))
		}
	}
	return model.Errorf(model.ErrInvalid, "cannot read %s: %s; correct the file, then run the command again", path, text)
}
