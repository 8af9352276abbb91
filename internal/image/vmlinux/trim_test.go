package vmlinux

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"slices"
	"testing"
)

const headBytes = 64

// kernelELF is a kernel of those segments, one after the other, with a section table behind them. A note begins with "note".
func kernelELF(t *testing.T, contents ...[]byte) []byte {
	t.Helper()
	head := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Entry: 0x1000000,
		Phoff: headBytes, Ehsize: headBytes, Phentsize: segmentSize, Phnum: uint16(len(contents)), Shentsize: 64, Shnum: 1,
	}
	copy(head.Ident[:], append(elfMagic, byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)))
	var table, body []byte
	for n, content := range contents {
		segment := elf.Prog64{
			Type: uint32(elf.PT_LOAD), Off: uint64(headBytes + len(contents)*segmentSize + len(body)), Paddr: uint64(n+1) << 24,
			Filesz: uint64(len(content)), Memsz: uint64(len(content)),
		}
		if bytes.HasPrefix(content, []byte("note")) {
			segment.Type = uint32(elf.PT_NOTE)
		}
		table = appendTo(t, table, segment)
		body = append(body, content...)
	}
	head.Shoff = uint64(headBytes + len(table) + len(body))
	return slices.Concat(appendTo(t, nil, head), table, body, make([]byte, 64), []byte("relocations"))
}

func appendTo(t *testing.T, to []byte, what any) []byte {
	t.Helper()
	to, err := binary.Append(to, binary.LittleEndian, what)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func TestTrimLoadsTheSame(t *testing.T) {
	t.Parallel()
	code, bss := []byte("code\x00\x00and more"), append([]byte("data"), make([]byte, 100_000)...)
	whole := kernelELF(t, code, make([]byte, 500), []byte("note\x00\x00"), bss)
	trimmed, err := Trim(slices.Clone(whole))
	if err != nil {
		t.Fatal(err)
	}
	if got := len(trimmed); got > len(whole)-100_000 {
		t.Errorf("%d of %d bytes are left", got, len(whole))
	}
	if again, err := Trim(slices.Clone(trimmed)); err != nil || !bytes.Equal(again, trimmed) {
		t.Errorf("trimmed again it is another one: %v", err)
	}
	was, is := loaded(t, whole), loaded(t, trimmed)
	if len(was.segments) != 4 || len(is.segments) != 4 || was.entry != is.entry {
		t.Fatalf("%d segments and the entry %#x became %d and %#x", len(was.segments), was.entry, len(is.segments), is.entry)
	}
	for n, s := range was.segments {
		if got := is.segments[n]; got.kind != s.kind || got.at != s.at || !bytes.Equal(got.memory, s.memory) {
			t.Errorf("segment %d is loaded as %+v, was %+v", n, got, s)
		}
	}
}

// machine is what a VMM makes of a kernel.
type machine struct {
	entry    uint64
	segments []segment
}

type segment struct {
	kind   elf.ProgType
	at     uint64
	memory []byte
}

func loaded(t *testing.T, kernel []byte) (m machine) {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(kernel))
	if err != nil {
		t.Fatal(err)
	}
	m.entry = file.Entry
	for _, p := range file.Progs {
		s := segment{p.Type, p.Paddr, make([]byte, p.Memsz)}
		if _, err := io.ReadFull(p.Open(), s.memory[:p.Filesz]); err != nil {
			t.Fatal(err)
		}
		m.segments = append(m.segments, s)
	}
	return m
}

func TestTrimRefuses(t *testing.T) {
	t.Parallel()
	change := func(at int, value byte) []byte {
		k := kernelELF(t, []byte("code"))
		k[at] = value
		return k
	}
	for name, kernel := range map[string][]byte{
		"nothing": nil, "a text": []byte("no kernel, and long enough to have had a header of an ELF file, were it one"),
		"no segments":                      append(change(56, 0), make([]byte, 100)...), // e_phnum
		"segments of another size":         change(54, 32),                              // e_phentsize
		"a 32-bit one":                     change(elf.EI_CLASS, byte(elf.ELFCLASS32)),
		"segments behind the end":          change(32+3, 1), // of the header's e_phoff
		"a segment behind the end":         change(headBytes+8+3, 1),
		"a segment that goes over the end": change(headBytes+32+3, 1),
		"a segment of a negative length":   change(headBytes+32+7, 0xff),
	} {
		if _, err := Trim(kernel); err == nil {
			t.Errorf("took %s", name)
		}
	}
}
