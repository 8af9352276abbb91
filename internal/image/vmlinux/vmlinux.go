// Package vmlinux takes the uncompressed ELF kernel out of a bzImage (the kernel's Documentation/arch/x86/boot.rst).
package vmlinux

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/therootcompany/xz"
)

const (
	maxKernel = 512 << 20 // unpacked; Debian's cloud kernel has 53 MB
	maxWindow = 128 << 20
)

// Offsets in the setup header.
const (
	offSetupSects    = 0x1f1
	offMagic         = 0x202 // "HdrS"
	offVersion       = 0x206
	offPayloadOffset = 0x248
	offPayloadLength = 0x24c
	headerEnd        = 0x250
	payloadVersion   = 0x208 // first protocol version with the payload's place
)

var (
	elfMagic  = []byte("\x7fELF")
	gzipMagic = []byte{0x1f, 0x8b}
	xzMagic   = []byte("\xfd7zXZ\x00")
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	lz4Magic  = []byte{0x02, 0x21, 0x4c, 0x18} // the legacy frame
	bzMagic   = []byte("BZh")
)

// Extract returns the vmlinux inside a bzImage. An image that is an ELF already is returned as it is.
func Extract(image []byte) ([]byte, error) {
	if bytes.HasPrefix(image, elfMagic) {
		return image, nil
	}
	payload, err := payload(image)
	if err != nil {
		return nil, err
	}
	stream, err := decompress(payload)
	if err != nil {
		return nil, err
	}
	var kernel bytes.Buffer
	if _, err := io.Copy(&kernel, io.LimitReader(stream, maxKernel+1)); err != nil {
		return nil, fmt.Errorf("the kernel's payload is broken: %w", err)
	}
	if kernel.Len() > maxKernel {
		return nil, fmt.Errorf("the kernel unpacks to more than %d bytes", maxKernel)
	}
	if !bytes.HasPrefix(kernel.Bytes(), elfMagic) {
		return nil, fmt.Errorf("the kernel's payload is not an ELF file")
	}
	return kernel.Bytes(), nil
}

// payload finds the compressed kernel. Its last four bytes, the unpacked size, are cut off: only the legacy LZ4 reader
// takes them as the end of its blocks, the others as garbage.
func payload(image []byte) ([]byte, error) {
	if len(image) < headerEnd || string(image[offMagic:offMagic+4]) != "HdrS" {
		return nil, fmt.Errorf("this is not a bzImage")
	}
	if v := binary.LittleEndian.Uint16(image[offVersion:]); v < payloadVersion {
		return nil, fmt.Errorf("the bzImage has boot protocol %#x, which does not tell where its payload is", v)
	}
	sectors := int64(image[offSetupSects])
	if sectors == 0 {
		sectors = 4 // by the protocol
	}
	start := (sectors+1)*512 + int64(binary.LittleEndian.Uint32(image[offPayloadOffset:]))
	length := int64(binary.LittleEndian.Uint32(image[offPayloadLength:]))
	if length < 8 || start+length > int64(len(image)) {
		return nil, fmt.Errorf("the bzImage's payload lies outside the file")
	}
	return image[start : start+length-4], nil
}

func decompress(p []byte) (io.Reader, error) {
	r := bytes.NewReader(p)
	switch {
	case bytes.HasPrefix(p, elfMagic):
		return r, nil
	case bytes.HasPrefix(p, lz4Magic):
		return lz4.NewReader(r), nil
	case bytes.HasPrefix(p, xzMagic):
		return xz.NewReader(r, maxWindow)
	case bytes.HasPrefix(p, zstdMagic):
		return zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
	case bytes.HasPrefix(p, bzMagic):
		return bzip2.NewReader(r), nil
	case bytes.HasPrefix(p, gzipMagic):
		z, err := gzip.NewReader(r)
		if err == nil {
			z.Multistream(false)
		}
		return z, err
	}
	return nil, fmt.Errorf("the kernel's payload has an unknown compression (% x)", p[:4])
}
