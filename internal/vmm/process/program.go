package process

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"banger/internal/atomicfile"
	"banger/internal/model"
)

const (
	versionTimeout = 10 * time.Second // for a program to say its version
	maxVersion     = 1000             // bytes of that which are kept
)

// Program is a VMM's program on this host.
type Program struct {
	Name   string       // as PATH has it
	Path   string       // "" searches PATH
	Absent error        // what the user is told when it is not installed: one line, an ErrUnsupported
	Cache  string       // directory that keeps what it said; "" for none
	Log    *slog.Logger // not nil

	ReadOnly bool // what it said is not kept
}

// said is what a program answered to --version. It holds for as long as the program is the same file.
type said struct {
	Binary  string    `json:"binary"`
	Size    int64     `json:"size"`
	ModTime time.Time `json:"mod_time"`
	Said    string    `json:"said"`
}

// Version returns the program's absolute path and what it answers to --version, capped. It is asked again once its file
// has changed. An error is ErrUnsupported, its text a line for the user.
func (p Program) Version(ctx context.Context) (path, text string, err error) {
	path, info, err := p.find()
	if err != nil {
		return "", "", err
	}
	known := p.load()
	if known.Said != "" && known.Binary == path && known.Size == info.Size() && known.ModTime.Equal(info.ModTime()) {
		return path, known.Said, nil
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", "", model.Errorf(model.ErrUnsupported, "cannot ask %s for its version: %w", path, err)
	}
	text = string(out[:min(len(out), maxVersion)])
	p.save(said{Binary: path, Size: info.Size(), ModTime: info.ModTime(), Said: text})
	return path, text, nil
}

func (p Program) find() (string, os.FileInfo, error) {
	path := p.Path
	if path == "" {
		found, err := exec.LookPath(p.Name)
		if err != nil {
			return "", nil, p.Absent
		}
		path = found
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, model.Errorf(model.ErrUnsupported, "cannot use %s: %w", path, err)
	}
	return path, info, nil
}

func (p Program) file() string { return filepath.Join(p.Cache, p.Name+".json") }

// load returns what was kept; a file that is missing or not whole is the same as an empty one.
func (p Program) load() (s said) {
	if p.Cache == "" {
		return s
	}
	raw, err := os.ReadFile(p.file())
	if err != nil || json.Unmarshal(raw, &s) != nil {
		return said{}
	}
	return s
}

// save keeps s. That it cannot be kept costs time, not correctness.
func (p Program) save(s said) {
	if p.Cache == "" || p.ReadOnly {
		return
	}
	raw, err := json.Marshal(s)
	if err == nil {
		err = errors.Join(os.MkdirAll(p.Cache, 0o700), atomicfile.Write(p.file(), raw, 0o600))
	}
	if err != nil {
		p.Log.Warn("cannot keep a program's version", "program", p.Name, "error", err)
	}
}
