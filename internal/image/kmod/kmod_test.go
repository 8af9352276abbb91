package kmod

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

func set() Set {
	modules := []Module{
		{Path: "kernel/net.ko", Name: "net", Depends: []string{"ring", "bus", "fail"}, Aliases: []string{"virtio:d1v*"}},
		{Path: "kernel/fail.ko", Name: "fail", Symbols: []string{"fail_register"}},
		{Path: "kernel/bus.ko", Name: "bus", Depends: []string{"ring"}},
		{Path: "kernel/ring.ko", Name: "ring"},
		{Path: "kernel/other-net.ko", Name: "other_net", Aliases: []string{"virtio:d1v*", "pci:a-b[c-d]"}, Softdeps: []string{"pre: bus"}},
		{Path: "kernel/tun.ko", Name: "tun", Aliases: []string{"devname:net/tun", "char-major-10-200"}},
	}
	order := []byte("kernel/other-net.ko\nkernel/net.ko\nkernel/bus.ko\n")
	return NewSet(modules, order, []byte("kernel/ext4.ko\n"), []byte("ext4.license=GPL\x00ext4.alias=fs-ext4\x00"))
}

func TestLoadOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names string
		want  string
	}{
		{"net", "ring bus fail net"},
		{"ring net", "ring bus fail net"},
		{"bus other-net net", "ring bus other_net fail net"},
		{"ext4 absent tun", "tun"},
	} {
		order, err := set().LoadOrder(strings.Fields(c.names)...)
		var got []string
		for _, m := range order {
			got = append(got, m.Name)
		}
		if strings.Join(got, " ") != c.want || err != nil {
			t.Errorf("%s: %v, %v; want %s", c.names, got, err, c.want)
		}
	}
	circle := NewSet([]Module{{Name: "a", Depends: []string{"b"}}, {Name: "b", Depends: []string{"a"}}}, nil, nil, nil)
	if _, err := circle.LoadOrder("a"); err == nil {
		t.Error("a circle has no order")
	}
}

// lookup reads an index as libkmod does.
func lookup(t *testing.T, file []byte, key string) []string {
	t.Helper()
	if binary.BigEndian.Uint32(file) != indexMagic || binary.BigEndian.Uint32(file[4:]) != indexVersion {
		t.Fatal("this is not an index")
	}
	at := binary.BigEndian.Uint32(file[8:])
	for {
		p := file[at&0x0fffffff:]
		if at&hasPrefix != 0 {
			prefix, rest, _ := bytes.Cut(p, []byte{0})
			if !strings.HasPrefix(key, string(prefix)) {
				return nil
			}
			key, p = key[len(prefix):], rest
		}
		if key == "" {
			return values(at, p)
		}
		if at&hasChildren == 0 || key[0] < p[0] || key[0] > p[1] {
			return nil
		}
		if at = binary.BigEndian.Uint32(p[2+4*int(key[0]-p[0]):]); at == 0 {
			return nil
		}
		key = key[1:]
	}
}

func values(at uint32, p []byte) []string {
	if at&hasChildren != 0 {
		p = p[2+4*(int(p[1]-p[0])+1):]
	}
	if at&hasValues == 0 {
		return nil
	}
	var found []string
	n := binary.BigEndian.Uint32(p)
	for p = p[4:]; n > 0; n-- {
		var text []byte
		text, p, _ = bytes.Cut(p[4:], []byte{0})
		found = append(found, string(text))
	}
	return found
}

func TestFiles(t *testing.T) {
	t.Parallel()
	files, err := set().Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, key string
		want      []string
	}{
		{"modules.dep.bin", "net", []string{"kernel/net.ko: kernel/fail.ko kernel/bus.ko kernel/ring.ko"}},
		{"modules.dep.bin", "ring", []string{"kernel/ring.ko:"}},
		{"modules.dep.bin", "other_net", []string{"kernel/other-net.ko:"}},
		{"modules.dep.bin", "ne", nil},
		{"modules.dep.bin", "absent", nil},
		{"modules.alias.bin", "virtio:d1v*", []string{"other_net", "net"}},
		{"modules.alias.bin", "pci:a_b[c-d]", []string{"other_net"}},
		{"modules.symbols.bin", "symbol:fail_register", []string{"fail"}},
		{"modules.builtin.bin", "ext4", []string{""}},
		{"modules.builtin.alias.bin", "fs_ext4", []string{"ext4"}},
	} {
		if got := lookup(t, files[c.file], c.key); !slices.Equal(got, c.want) {
			t.Errorf("%s %s: %q, want %q", c.file, c.key, got, c.want)
		}
	}
	if got := string(files["modules.devname"]); !strings.HasSuffix(got, "\ntun net/tun c10:200\n") {
		t.Errorf("modules.devname: %q", got)
	}
	if got := string(files["modules.softdep"]); !strings.HasSuffix(got, "\nsoftdep other_net pre: bus\n") {
		t.Errorf("modules.softdep: %q", got)
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"a/b.ko": "a/b.ko", "a/b.ko.xz": "a/b.ko", "b.ko.zst": "b.ko", "modules.order": "", "x.xz": ""} {
		got, ok := Plain(name)
		if ok != (want != "") || (ok && got != want) {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}
