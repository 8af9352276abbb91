package image

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"banger/internal/crash"
	"banger/internal/image/ext4"
	"banger/internal/image/layers"
	"banger/internal/image/oci"
	"banger/internal/model"
)

// flatten makes the root file of an image from its layers, lowest first, as docker would run it.
func (s *Service) flatten(ctx context.Context, dir string, work scratch, ls []layers.Layer, c oci.Config, report model.Report) (fresh, error) {
	file := filepath.Join(dir, rootFile)
	var total int64
	for _, l := range ls {
		total += l.Size
	}
	options := layers.Options{
		Limits: s.limits, Scratch: work.dir,
		Progress: byteProgressOf("read the layers", total, report), Once: true,
	}
	written, sum, err := flattenTo(ctx, file, ls, options)
	if errors.Is(err, layers.ErrTwice) {
		options.Once = false
		if err := os.Remove(file); err != nil {
			return fresh{}, err
		}
		written, sum, err = flattenTo(ctx, file, ls, options)
	}
	if err != nil {
		return fresh{}, err
	}
	made := model.Image{
		Arch: c.Platform.Arch, Platform: c.Platform.String(), Init: model.InitAgent,
		Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, Workdir: c.Workdir, User: c.User, StopSignal: c.StopSignal, Labels: c.Labels,
	}
	made.Init, made.InitPath = initOf(c, sum)
	salt, err := json.Marshal(imageToManifest(made))
	if err != nil {
		return fresh{}, err
	}
	size, err := rootSize(file, s.rootBytes)
	if err != nil {
		return fresh{}, err
	}
	crash.At("image.flatten.before-finish")
	report(model.Progress{Stage: "finish the file system"})
	content, err := written.Salted(salt).Finish(ctx, file, size)
	return fresh{made, content}, err
}

// flattenTo runs the merger and the writer at once; they end together, and the first failure is what is told.
func flattenTo(ctx context.Context, file string, ls []layers.Layer, o layers.Options) (ext4.Written, layers.Summary, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, out := io.Pipe()
	type merged struct {
		sum layers.Summary
		err error
	}
	done := make(chan merged, 1)
	go func() {
		sum, err := layers.Flatten(ctx, out, ls, o)
		out.CloseWithError(err)
		done <- merged{sum, err}
	}()
	written, err := ext4.Write(ctx, file, stream)
	stream.CloseWithError(err)
	if err != nil {
		cancel() // the merger may be reading and not writing
	}
	m := <-done
	if m.err != nil && (err == nil || !errors.Is(m.err, err)) && !errors.Is(m.err, context.Canceled) {
		err = m.err
	}
	if m.sum.Entries == 0 && err == nil {
		err = model.Errorf(model.ErrInvalid, "cannot take the image: it holds no file")
	}
	return written, m.sum, err
}

// initOf decides what becomes process 1, as podman does: the image's init program when the image's command is one, or when
// it names no command at all; else the agent stays.
func initOf(c oci.Config, sum layers.Summary) (model.InitMode, string) {
	command := append(append([]string{}, c.Entrypoint...), c.Cmd...)
	switch {
	case sum.Init == "", len(command) > 0 && !model.IsInit(command[0]):
		return model.InitAgent, ""
	case len(command) > 0 && filepath.IsAbs(command[0]):
		return model.InitSystemd, command[0]
	}
	return model.InitSystemd, sum.Init
}

// rootSize is the size that a root disk gets: the usual one, or as much again as the content takes where that is more.
func rootSize(file string, usual int64) (int64, error) {
	info, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	return max(usual, (2*info.Size()+model.GiB-1)/model.GiB*model.GiB), nil
}

// byteProgressOf is byteProgress with an end that is known.
func byteProgressOf(stage string, total int64, report model.Report) func(int64) {
	step := max(total/100, model.MiB)
	next := int64(0)
	return func(n int64) {
		if n >= next {
			next = n - n%step + step
			report(model.Progress{Stage: stage, Done: min(n, max(total, n)), Total: total})
		}
	}
}
