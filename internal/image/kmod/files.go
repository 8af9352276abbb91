package kmod

import (
	"fmt"
	"slices"
	"strings"
)

// Files returns the files that depmod would make beside the modules, by name: the indexes that libkmod maps, and the
// text ones that are read as such. The text forms of the indexes are for people and left out, but for modules.dep, which
// busybox reads.
func (s Set) Files() (map[string][]byte, error) {
	var dep, alias, symbols, builtin, builtinAlias index
	var depText, softdep, devname strings.Builder
	softdep.WriteString("# Soft dependencies extracted from modules themselves.\n")
	for i, m := range s.modules {
		line, err := s.depLine(m)
		if err != nil {
			return nil, err
		}
		depText.WriteString(line + "\n")
		dep.insert(m.Name, line, i)
		for _, a := range m.Aliases {
			if key, ok := normalize(a); ok {
				alias.insert(key, m.Name, i)
			}
		}
		for _, sym := range m.Symbols {
			symbols.insert("symbol:"+sym, m.Name, i)
		}
		for _, soft := range m.Softdeps {
			fmt.Fprintf(&softdep, "softdep %s %s\n", m.Name, soft)
		}
		devname.WriteString(deviceNode(m))
	}
	for _, path := range s.builtin {
		builtin.insert(nameOf(path), "", 0)
	}
	for field := range strings.SplitSeq(string(s.info), "\x00") {
		name, rest, _ := strings.Cut(field, ".")
		value, ok := strings.CutPrefix(rest, "alias=")
		if key, valid := normalize(value); ok && valid {
			builtinAlias.insert(key, name, 0)
		}
	}
	files := map[string][]byte{
		"modules.dep":               []byte(depText.String()),
		"modules.dep.bin":           dep.encode(),
		"modules.alias.bin":         alias.encode(),
		"modules.symbols.bin":       symbols.encode(),
		"modules.builtin.bin":       builtin.encode(),
		"modules.builtin.alias.bin": builtinAlias.encode(),
		"modules.softdep":           []byte(softdep.String()),
	}
	if devname.Len() > 0 {
		files["modules.devname"] = []byte("# Device nodes to trigger on-demand module loading.\n" + devname.String())
	}
	return files, nil
}

// depLine is a module's path with those of all that it needs. libkmod loads them from the last to the first.
func (s Set) depLine(m Module) (string, error) {
	order, err := s.LoadOrder(m.Name)
	if err != nil {
		return "", err
	}
	slices.Reverse(order)
	line := m.Path + ":"
	for _, needed := range order[1:] {
		line += " " + needed.Path
	}
	return line, nil
}

// deviceNode is the line for a module that wants a device node to be there before it is loaded: it has an alias for the
// node's name and one for its numbers.
func deviceNode(m Module) string {
	var name, numbers string
	for _, a := range m.Aliases {
		var major, minor int
		if n, ok := strings.CutPrefix(a, "devname:"); ok {
			name = n
		} else if n, err := fmt.Sscanf(a, "char-major-%d-%d", &major, &minor); n == 2 && err == nil {
			numbers = fmt.Sprintf("c%d:%d", major, minor)
		} else if n, err := fmt.Sscanf(a, "block-major-%d-%d", &major, &minor); n == 2 && err == nil {
			numbers = fmt.Sprintf("b%d:%d", major, minor)
		}
	}
	if name == "" || numbers == "" {
		return ""
	}
	return m.Name + " " + name + " " + numbers + "\n"
}

// normalize gives an alias the form that libkmod looks up: underscores for hyphens, but not within brackets. The index
// holds ASCII only.
func normalize(alias string) (string, bool) {
	key := []byte(alias)
	bracket := false
	for i, c := range key {
		switch {
		case c >= 128 || c == '#':
			return "", false
		case c == '[':
			bracket = true
		case c == ']':
			bracket = false
		case c == '-' && !bracket:
			key[i] = '_'
		}
	}
	return string(key), len(key) > 0
}
