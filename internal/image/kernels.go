package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/model"
)

// Kernels lists all kernels by name; one whose name another took over has none and comes first.
func (s *Service) Kernels(ctx context.Context) ([]model.Kernel, error) {
	all, err := s.catalog.Kernels(ctx)
	sortKernels(all)
	return all, err
}

// Kernel returns the kernel that ref means: a name, a digest, or a unique prefix of a digest of at least four digits.
func (s *Service) Kernel(ctx context.Context, ref string) (model.Kernel, error) {
	all, err := s.Kernels(ctx)
	if err != nil {
		return model.Kernel{}, err
	}
	return findKernel(all, ref)
}

// EnsureKernel returns the kernel that ref means. The default kernel is made when it is missing or when a file of it is;
// of several that ask at once one makes it and the others wait.
func (s *Service) EnsureKernel(ctx context.Context, ref string, report model.Report) (model.Kernel, error) {
	found, err := s.Kernel(ctx, ref)
	if ref != model.DefaultKernel || !s.needsKernel(found, err) {
		return found, err
	}
	lock, err := s.lock(ctx, s.locksDir(), "kernel-"+ref, unix.LOCK_EX)
	if err != nil {
		return model.Kernel{}, err
	}
	defer lock.Close()
	if err := s.Adopt(ctx); err != nil {
		return model.Kernel{}, err
	}
	if found, err = s.Kernel(ctx, ref); !s.needsKernel(found, err) {
		return found, err
	}
	made, err := s.buildKernel(ctx, ref, report)
	return made, s.explain(ctx, err, "build kernel "+ref)
}

// needsKernel says whether the default kernel, looked up with err, must be made. There is no command that makes a kernel
// again, so a broken one is mended here.
func (s *Service) needsKernel(found model.Kernel, err error) bool {
	if err != nil {
		return errors.Is(err, model.ErrNotFound)
	}
	return errors.Is(s.checkBlob(kindKernel, found.Digest), model.ErrCorrupt)
}

func (s *Service) buildKernel(ctx context.Context, name string, report model.Report) (model.Kernel, error) {
	s.tidy(ctx)
	d, err := s.newDraft(ctx, kindKernel)
	if err != nil {
		return model.Kernel{}, err
	}
	made, err := s.fillKernel(ctx, d, name, report)
	err = errors.Join(err, d.close())
	s.tidy(ctx) // programs of an earlier, killed build may have ended only now
	return made, err
}

func (s *Service) fillKernel(ctx context.Context, d *draft, name string, report model.Report) (model.Kernel, error) {
	work, err := s.newScratch(ctx)
	if err != nil {
		return model.Kernel{}, err
	}
	made, err := s.recipe.kernel(ctx, d.dir, work, report)
	if err := errors.Join(err, work.close()); err != nil {
		return model.Kernel{}, err
	}
	crash.At("image.kernel.before-digest")
	m := manifest{Format: manifestFormat, Files: map[string]fileInfo{}}
	made.Name, made.SizeBytes, made.CreatedAt = name, 0, time.Now().UTC()
	for _, name := range kernelFiles {
		digest, size, _, err := measure(ctx, filepath.Join(d.dir, name), "")
		if err != nil {
			return model.Kernel{}, err
		}
		m.Files[name] = fileInfo{Digest: digest, Bytes: size, Segments: true}
		made.SizeBytes += size
	}
	made.Digest = kernelDigest(m.Files, made.EarlyModules)
	m.Kernel = kernelToManifest(made)
	if err := ctx.Err(); err != nil {
		return model.Kernel{}, err
	}
	return made, s.publish(d, m, func() error { return s.insertKernel(ctx, made) })
}

// kernelFiles are what a kernel is made of, in the order in which they enter its digest.
var kernelFiles = [...]string{vmlinuxFile, modulesFile, earlyFile}

// kernelDigest is the SHA-256 over the digests of a kernel's files and the list of its early modules, one a line.
func kernelDigest(files map[string]fileInfo, early []string) model.Digest {
	sum := sha256.New()
	for _, name := range kernelFiles {
		fmt.Fprintf(sum, "%s %s\n", files[name].Digest, name)
	}
	for _, path := range early {
		fmt.Fprintln(sum, path)
	}
	return model.Digest(fmt.Sprintf("sha256:%x", sum.Sum(nil)))
}

func (s *Service) insertKernel(ctx context.Context, made model.Kernel) error {
	err := s.catalog.InsertKernel(ctx, made)
	if !errors.Is(err, model.ErrExists) {
		return err
	}
	all, lerr := s.catalog.Kernels(ctx)
	if lerr != nil {
		return lerr
	}
	for _, k := range all {
		if k.Digest == made.Digest && k.Name == made.Name {
			return nil
		}
	}
	return err
}

// DeleteKernel removes the kernel that ref means and returns it as it was. ErrState when a VM uses it.
func (s *Service) DeleteKernel(ctx context.Context, ref string) (model.Kernel, error) {
	k, err := s.Kernel(ctx, ref)
	if err != nil {
		return model.Kernel{}, err
	}
	lock, err := s.lock(ctx, s.locksDir(), "kernel-"+k.Name, unix.LOCK_EX)
	if err != nil {
		return model.Kernel{}, err
	}
	defer lock.Close()
	return k, s.remove(ctx, kindKernel, k.Digest, func() error { return s.catalog.DeleteKernel(ctx, k.Digest) })
}

func kernelToManifest(k model.Kernel) *kernelManifest { m := kernelManifest(k); return &m }
