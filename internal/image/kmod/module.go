// Package kmod reads kernel modules and writes the indexes by which modprobe finds them, as depmod does.
package kmod

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

const (
	maxModule = 256 << 20
	maxWindow = 128 << 20
)

// Module is what a module says about itself.
type Module struct {
	Path     string   // under /lib/modules/<release>, uncompressed: "kernel/fs/fuse/fuse.ko"
	Name     string   // with underscores
	Depends  []string // names of the modules that it needs
	Aliases  []string
	Softdeps []string
	Symbols  []string // that it exports, sorted
}

// Plain strips the compression from a module's path and says whether it is a module at all.
func Plain(name string) (plain string, ok bool) {
	plain = strings.TrimSuffix(name, compression(name))
	return plain, strings.HasSuffix(plain, ".ko")
}

func compression(name string) string {
	if ext := path.Ext(name); ext == ".xz" || ext == ".zst" || ext == ".gz" {
		return ext
	}
	return ""
}

// Unpack reads a module and takes off the compression that its name tells of.
func Unpack(name string, r io.Reader) ([]byte, error) {
	var err error
	switch compression(name) {
	case ".xz":
		r, err = xz.NewReader(r, maxWindow)
	case ".gz":
		r, err = gzip.NewReader(r)
	case ".zst":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1)); err == nil {
			defer z.Close()
			r = z
		}
	}
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", name, err)
	}
	content, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", name, err)
	}
	if len(content) > maxModule {
		return nil, fmt.Errorf("module %s is larger than %d bytes", name, maxModule)
	}
	return content, nil
}

// Parse reads an uncompressed module.
func Parse(plain string, content []byte) (Module, error) {
	m := Module{Path: plain, Name: nameOf(plain)}
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return m, fmt.Errorf("module %s: %w", plain, err)
	}
	section := file.Section(".modinfo")
	if section == nil {
		return m, fmt.Errorf("module %s says nothing about itself", plain)
	}
	info, err := section.Data()
	if err != nil {
		return m, fmt.Errorf("module %s: %w", plain, err)
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name != "" {
					m.Depends = append(m.Depends, underscored(name))
				}
			}
		case "alias":
			m.Aliases = append(m.Aliases, value)
		case "softdep":
			m.Softdeps = append(m.Softdeps, value)
		}
	}
	m.Symbols = exported(file)
	return m, nil
}

// exported lists the symbols that other modules may use: each has an entry named __ksymtab_<symbol>.
func exported(file *elf.File) []string {
	symbols, err := file.Symbols()
	if err != nil {
		return nil // a module without a symbol table exports nothing
	}
	var names []string
	for _, s := range symbols {
		if name, ok := strings.CutPrefix(s.Name, "__ksymtab_"); ok && name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func nameOf(plain string) string { return underscored(strings.TrimSuffix(path.Base(plain), ".ko")) }

func underscored(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Set is all modules of a kernel.
type Set struct {
	modules []Module // in the order of modules.order, which decides between modules with the same alias
	byName  map[string]Module
	builtin []string // lines of modules.builtin
	info    []byte   // modules.builtin.modinfo
}

// NewSet joins modules with what the package says about their order and the built-in ones: the contents of
// modules.order, modules.builtin and modules.builtin.modinfo.
func NewSet(modules []Module, order, builtin, info []byte) Set {
	rank := map[string]int{}
	for line := range strings.FieldsSeq(string(order)) {
		rank[line] = len(rank) + 1
	}
	rankOf := func(m Module) int {
		if r := rank[m.Path]; r > 0 {
			return r
		}
		return len(rank) + 1
	}
	s := Set{modules: slices.Clone(modules), byName: map[string]Module{}, builtin: strings.Fields(string(builtin)), info: info}
	slices.SortFunc(s.modules, func(a, b Module) int {
		if d := rankOf(a) - rankOf(b); d != 0 {
			return d
		}
		return strings.Compare(a.Path, b.Path)
	})
	for _, m := range s.modules {
		s.byName[m.Name] = m
	}
	return s
}

// LoadOrder returns the named modules with all that they need, each after what it needs. Those that are not there, since
// they are built in or this kernel has none, are left out.
func (s Set) LoadOrder(names ...string) ([]Module, error) {
	var order []Module
	state := map[string]int{} // 1 being visited, 2 done
	var visit func(name string) error
	visit = func(name string) error {
		m, ok := s.byName[underscored(name)]
		if !ok || state[m.Name] == 2 {
			return nil
		}
		if state[m.Name] == 1 {
			return fmt.Errorf("module %s needs itself", m.Name)
		}
		state[m.Name] = 1
		for _, dep := range m.Depends {
			if err := visit(dep); err != nil {
				return err
			}
		}
		state[m.Name] = 2
		order = append(order, m)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}
