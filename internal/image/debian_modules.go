package image

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"path"
	"strings"
	"time"

	"banger/internal/atomicfile"
	"banger/internal/image/cpio"
	"banger/internal/image/ext4"
	"banger/internal/image/kmod"
)

// writeModules makes the read-only file system that the guest mounts over /lib/modules: <release>/… at its top.
func (p *kernelPackage) writeModules(ctx context.Context, file string) error {
	names, files, err := p.files()
	if err != nil {
		return err
	}
	stream, out := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		out.CloseWithError(writeModulesTar(out, p.release, names, files))
	}()
	written, err := ext4.Write(ctx, file, stream)
	stream.CloseWithError(err)
	<-done
	if err != nil {
		return err
	}
	return written.Seal(ctx, file)
}

func writeModulesTar(out io.Writer, release string, names []string, files map[string][]byte) error {
	w := tar.NewWriter(out)
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = path.Join(release, name)
	}
	for _, dir := range parents(paths) {
		h := &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
	}
	for i, name := range names {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: paths[i], Mode: 0o644, Size: int64(len(files[name])), ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(files[name]); err != nil {
			return err
		}
	}
	return w.Close()
}

// modulesList is the file of the initramfs that tells the agent what to load: one absolute path a line, in order.
const modulesList = "modules"

// writeEarly makes the initramfs but for the agent: the mount points, the console that the kernel opens for /init, and
// the early modules with their list.
func (p *kernelPackage) writeEarly(file string, early []kmod.Module) error {
	out, err := atomicfile.Create(file, 0o600)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := writeEarlyArchive(&buf, p.release, early, p.modules); err != nil {
		_ = out.Abort()
		return err
	}
	if _, err := out.Write(buf.Bytes()); err != nil {
		_ = out.Abort()
		return err
	}
	return out.Commit()
}

func writeEarlyArchive(out io.Writer, release string, early []kmod.Module, content map[string][]byte) error {
	w := cpio.NewWriter(out)
	base := path.Join("lib/modules", release)
	paths := make([]string, len(early))
	for i, m := range early {
		paths[i] = path.Join(base, m.Path)
	}
	for _, dir := range append([]string{"dev", "proc", "sys"}, parents(paths)...) {
		if err := w.Add(cpio.Entry{Name: dir, Mode: cpio.TypeDir | 0o755}); err != nil {
			return err
		}
	}
	if err := w.Add(cpio.Entry{Name: "dev/console", Mode: cpio.TypeChar | 0o600, Major: 5, Minor: 1}); err != nil {
		return err
	}
	list := ""
	for i, m := range early {
		list += "/" + paths[i] + "\n"
		if err := addFile(w, paths[i], content[m.Path]); err != nil {
			return err
		}
	}
	if err := addFile(w, modulesList, []byte(list)); err != nil {
		return err
	}
	return w.Close()
}

func addFile(w *cpio.Writer, name string, content []byte) error {
	if err := w.Add(cpio.Entry{Name: strings.TrimPrefix(name, "/"), Mode: cpio.TypeRegular | 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
