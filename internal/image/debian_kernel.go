package image

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"banger/internal/crash"
	"banger/internal/image/deb"
	"banger/internal/image/kmod"
	"banger/internal/image/vmlinux"
	"banger/internal/model"
)

// earlyModules are what a guest needs to see its disks, its channel and its root, and what it is quicker to have at once
// than to look for; what they need themselves comes with them. Those built into a kernel are no matter. Their order
// decides the order of loading where needs leave it open.
func earlyModules() []string {
	return []string{
		"virtio_mmio", "virtio_blk", "virtio_console", // QEMU's microvm machine: the bus, the disks, the agent's channel
		"virtio_net", "virtio-rng",
		"ext4", "crc32c_generic", // the root; ext4 asks for the checksum by name
		"overlay",                    // a root of two layers
		"vmw_vsock_virtio_transport", // the agent's channel in other machines than QEMU's
	}
}

// maxConfigFile caps the small text files of a kernel package; its largest one has 40 KB.
const maxConfigFile = 4 << 20

// kernelPackage is what the kernel's package held.
type kernelPackage struct {
	release string
	vmlinux []byte
	set     kmod.Set
	modules map[string][]byte // by path under /lib/modules/<release>, uncompressed
	texts   map[string][]byte // modules.order and its like
}

func (r debian) kernel(ctx context.Context, dir string, work scratch, report model.Report) (model.Kernel, error) {
	return r.makeKernel(ctx, dir, earlyModules(), work, report)
}

// makeKernel makes the files of a kernel in dir; wanted are the modules that its initramfs is to hold.
func (r debian) makeKernel(ctx context.Context, dir string, wanted []string, work scratch, report model.Report) (model.Kernel, error) {
	file, version, err := r.fetchKernel(ctx, work, report)
	if err != nil {
		return model.Kernel{}, err
	}
	report(model.Progress{Stage: "unpack the kernel"})
	p, err := readKernelPackage(ctx, file)
	if err != nil {
		return model.Kernel{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, vmlinuxFile), p.vmlinux, 0o600); err != nil {
		return model.Kernel{}, err
	}
	crash.At("image.kernel.before-modules")
	report(model.Progress{Stage: "write the modules"})
	if err := p.writeModules(ctx, filepath.Join(dir, modulesFile)); err != nil {
		return model.Kernel{}, err
	}
	early, err := p.set.LoadOrder(wanted...)
	if err != nil {
		return model.Kernel{}, err
	}
	if err := p.writeEarly(filepath.Join(dir, earlyFile), early); err != nil {
		return model.Kernel{}, err
	}
	k := model.Kernel{Arch: "amd64", Release: p.release, Source: version}
	for _, m := range early {
		k.EarlyModules = append(k.EarlyModules, m.Path)
	}
	return k, nil
}

// readKernelPackage takes the kernel and its modules out of a package.
func readKernelPackage(ctx context.Context, file string) (kernelPackage, error) {
	p := kernelPackage{modules: map[string][]byte{}, texts: map[string][]byte{}}
	in, err := os.Open(file)
	if err != nil {
		return p, err
	}
	defer in.Close()
	var modules []kmod.Module
	err = deb.Walk(in, func(name string, h *tar.Header, content io.Reader) error {
		if err := ctx.Err(); err != nil || h.Typeflag != tar.TypeReg {
			return err
		}
		if release, ok := strings.CutPrefix(name, "boot/vmlinuz-"); ok {
			p.release = release
			return p.readKernel(content)
		}
		rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "usr/"), "lib/modules/")
		_, inside, found := strings.Cut(rest, "/")
		if !ok || !found {
			return nil
		}
		m, err := p.readModuleFile(inside, content)
		if m.Name != "" {
			modules = append(modules, m)
		}
		return err
	})
	if err != nil {
		return p, fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	if p.vmlinux == nil || len(modules) == 0 {
		return p, fmt.Errorf("%s holds no kernel with modules", filepath.Base(file))
	}
	p.set = kmod.NewSet(modules, p.texts["modules.order"], p.texts["modules.builtin"], p.texts["modules.builtin.modinfo"])
	return p, nil
}

func (p *kernelPackage) readKernel(content io.Reader) error {
	const maxImage = 256 << 20
	packed, err := io.ReadAll(io.LimitReader(content, maxImage))
	if err != nil {
		return err
	}
	kernel, err := vmlinux.Extract(packed)
	if err != nil {
		return err
	}
	p.vmlinux, err = vmlinux.Trim(kernel)
	return err
}

// readModuleFile keeps one file below the modules' directory; a module is also returned.
func (p *kernelPackage) readModuleFile(inside string, content io.Reader) (kmod.Module, error) {
	plain, ok := kmod.Plain(inside)
	if !ok {
		if !strings.HasPrefix(inside, "modules.") {
			return kmod.Module{}, nil
		}
		text, err := io.ReadAll(io.LimitReader(content, maxConfigFile))
		p.texts[inside] = text
		return kmod.Module{}, err
	}
	unpacked, err := kmod.Unpack(inside, content)
	if err != nil {
		return kmod.Module{}, err
	}
	p.modules[plain] = unpacked
	return kmod.Parse(plain, unpacked)
}

// files is all that lies below /lib/modules/<release> in the guest, sorted.
func (p *kernelPackage) files() ([]string, map[string][]byte, error) {
	all, err := p.set.Files()
	if err != nil {
		return nil, nil, err
	}
	maps.Copy(all, p.modules)
	maps.Copy(all, p.texts)
	return slices.Sorted(maps.Keys(all)), all, nil
}

// parents returns the directories of a sorted list of files, each before what it holds.
func parents(files []string) []string {
	seen := map[string]bool{".": true, "/": true}
	var dirs []string
	var add func(dir string)
	add = func(dir string) {
		if !seen[dir] {
			seen[dir] = true
			add(path.Dir(dir))
			dirs = append(dirs, dir)
		}
	}
	for _, f := range files {
		add(path.Dir(f))
	}
	return dirs
}
