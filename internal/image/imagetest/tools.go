package imagetest

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

// release is of the kernel that the scripted apt downloads.
const release = "6.1.0-0-cloud-amd64"

// WriteTools fills dir with programs that take the places of those which the default image and kernel are made with:
// mmdebstrap, which writes a small root file system, and the ones of apt, which know one small package of a kernel. With
// a FIFO called linger beside them, mmdebstrap ignores that it is asked to end, until the FIFO was opened and closed.
func WriteTools(dir string) error {
	root := Tar(
		File{Name: "./", Type: tar.TypeDir}, File{Name: "./etc/", Type: tar.TypeDir}, File{Name: "./etc/hostname", Content: "build\n"},
		File{Name: "./usr/", Type: tar.TypeDir}, File{Name: "./usr/bin/", Type: tar.TypeDir}, File{Name: "./usr/bin/tool", Mode: 0o755, Content: "tool"},
	)
	for name, data := range map[string][]byte{
		"root.tar": root, "kernel.deb": kernelPackage(), "keyring.gpg": nil,
		"mmdebstrap": []byte(`#!/bin/sh
if [ "$1" = --unshare-helper ]; then shift; exec "$@"; fi
here=$(dirname "$0")
mkdir -p "$TMPDIR/mmdebstrap/proc"
[ -p "$here/linger" ] && trap "" TERM
echo "I: creating tarball..." >&2
[ -p "$here/linger" ] && cat "$here/linger" >/dev/null
cat "$here/root.tar"
rm -rf "$TMPDIR/mmdebstrap"
`),
		"apt-get": []byte(`#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
[ "$1" = download ] && cp "$(dirname "$0")/kernel.deb" "$2_6.1_amd64.deb" || [ "$1" = update ]
`),
		"apt-cache":  []byte("#!/bin/sh\necho 'Depends: linux-image-" + release + " (= 6.1)'\n"),
		"apt-config": []byte("#!/bin/sh\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// kernelPackage is a Debian package (deb(5)) with a kernel and one module.
func kernelPackage() []byte {
	data := Tar(
		File{Name: "./boot/vmlinuz-" + release, Content: string(kernel())},
		File{Name: "./lib/modules/" + release + "/kernel/virtio_net.ko", Content: string(module("alias=virtio:d00000001v*"))},
	)
	var out bytes.Buffer
	out.WriteString("!<arch>\n")
	fmt.Fprintf(&out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", "data.tar", 0, 0, 0, "100644", len(data), data)
	return out.Bytes()
}

// kernel is one that loads a few bytes.
func kernel() []byte {
	const content = "a kernel"
	header := header(elf.ET_EXEC)
	header.Phoff, header.Phentsize, header.Phnum = 64, 56, 1
	segment := elf.Prog64{Type: uint32(elf.PT_LOAD), Off: 64 + 56, Filesz: uint64(len(content)), Memsz: uint64(len(content))}
	var out bytes.Buffer
	must(binary.Write(&out, binary.LittleEndian, header))
	must(binary.Write(&out, binary.LittleEndian, segment))
	out.WriteString(content)
	return out.Bytes()
}

// header begins an ELF file, which has neither segments nor sections yet.
func header(kind elf.Type) elf.Header64 {
	return elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(kind), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: 64,
	}
}

// module is a kernel module that says something about itself and is otherwise empty.
func module(info string) []byte {
	const names = "\x00.modinfo\x00.shstrtab\x00"
	header := header(elf.ET_REL)
	header.Shentsize, header.Shnum, header.Shstrndx = 64, 3, 2
	header.Shoff = uint64(header.Ehsize) + uint64(len(info)+1+len(names))
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: 64, Size: uint64(len(info) + 1), Addralign: 1},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: 64 + uint64(len(info)+1), Size: uint64(len(names)), Addralign: 1},
	}
	var out bytes.Buffer
	must(binary.Write(&out, binary.LittleEndian, header))
	out.WriteString(info + "\x00" + names)
	must(binary.Write(&out, binary.LittleEndian, sections))
	return out.Bytes()
}
