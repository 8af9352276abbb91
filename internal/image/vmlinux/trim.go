package vmlinux

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// Trim returns the kernel without what a VMM has no use for, in a quarter less of room: sections, which only tools look at, and
// the zeros at the ends of segments, in the place of which memory is zeros already. A start reads all that is left. kernel
// is changed in place.
func Trim(kernel []byte) ([]byte, error) {
	var head elf.Header64
	if _, err := binary.Decode(kernel, binary.LittleEndian, &head); err != nil || elf.Class(head.Ident[elf.EI_CLASS]) != elf.ELFCLASS64 {
		return nil, fmt.Errorf("the kernel is not a 64-bit ELF file")
	}
	end, err := trimSegments(kernel, head)
	if err != nil {
		return nil, err
	}
	head.Shoff, head.Shnum, head.Shstrndx = 0, 0, 0
	_, err = binary.Encode(kernel, binary.LittleEndian, head)
	return kernel[:end], err
}

const segmentSize = 56 // of an entry of their table

// trimSegments returns where the last of them ends.
func trimSegments(kernel []byte, head elf.Header64) (end uint64, err error) {
	whole := uint64(len(kernel))
	table, size := head.Phoff, uint64(head.Phnum)*uint64(head.Phentsize)
	if head.Phnum == 0 || head.Phentsize != segmentSize {
		return 0, fmt.Errorf("the kernel has no segments")
	}
	if table > whole || size > whole-table {
		return 0, fmt.Errorf("the kernel's segments lie outside the file")
	}
	end = table + size
	for n := range uint64(head.Phnum) {
		at := kernel[table+n*uint64(head.Phentsize):]
		var segment elf.Prog64
		if _, err := binary.Decode(at, binary.LittleEndian, &segment); err != nil {
			return 0, fmt.Errorf("the kernel's segment %d: %w", n, err)
		}
		if segment.Off > whole || segment.Filesz > whole-segment.Off {
			return 0, fmt.Errorf("the kernel's segment %d lies outside the file", n)
		}
		if elf.ProgType(segment.Type) == elf.PT_LOAD {
			content := kernel[segment.Off : segment.Off+segment.Filesz]
			segment.Filesz = uint64(len(bytes.TrimRight(content, "\x00")))
			if _, err := binary.Encode(at, binary.LittleEndian, segment); err != nil {
				return 0, err
			}
		}
		end = max(end, segment.Off+segment.Filesz)
	}
	return end, nil
}
