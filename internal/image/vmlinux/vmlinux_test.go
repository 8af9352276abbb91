package vmlinux

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// bzImage wraps a compressed payload as the kernel's build does: setup sectors, the payload, its unpacked size.
func bzImage(payload []byte, unpacked int) []byte {
	const sectors, offset = 3, 100
	header := make([]byte, (sectors+1)*512+offset)
	header[offSetupSects] = sectors
	copy(header[offMagic:], "HdrS")
	binary.LittleEndian.PutUint16(header[offVersion:], 0x20f)
	binary.LittleEndian.PutUint32(header[offPayloadOffset:], offset)
	binary.LittleEndian.PutUint32(header[offPayloadLength:], uint32(len(payload)+4))
	image := slices.Concat(header, payload)
	image = binary.LittleEndian.AppendUint32(image, uint32(unpacked))
	return append(image, "what follows the payload"...)
}

func packed(t *testing.T, kernel []byte) map[string][]byte {
	t.Helper()
	var legacy, gz bytes.Buffer
	l := lz4.NewWriter(&legacy)
	if err := l.Apply(lz4.LegacyOption(true)); err != nil {
		t.Fatal(err)
	}
	g := gzip.NewWriter(&gz)
	for _, w := range []interface {
		Write([]byte) (int, error)
		Close() error
	}{l, g} {
		if _, err := w.Write(kernel); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"lz4": legacy.Bytes(), "gzip": gz.Bytes(), "zstd": z.EncodeAll(kernel, nil), "none": kernel}
}

func TestExtract(t *testing.T) {
	t.Parallel()
	kernel := append([]byte("\x7fELF"), bytes.Repeat([]byte("kernel "), 2_000_000)...)
	for name, payload := range packed(t, kernel) {
		got, err := Extract(bzImage(payload, len(kernel)))
		if err != nil || !bytes.Equal(got, kernel) {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(got), err, len(kernel))
		}
	}
	if got, err := Extract(kernel); err != nil || !bytes.Equal(got, kernel) {
		t.Errorf("an uncompressed kernel: %v", err)
	}
}

func TestExtractRefuses(t *testing.T) {
	t.Parallel()
	payload := packed(t, []byte("\x7fELF and so on"))["zstd"]
	whole := bzImage(payload, 10)
	outside := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(outside[offPayloadLength:], 1<<31)
	old := bytes.Clone(whole)
	binary.LittleEndian.PutUint16(old[offVersion:], 0x207)
	for name, image := range map[string][]byte{
		"nothing": nil, "text": bytes.Repeat([]byte("x"), 4096), "payload outside": outside, "old protocol": old,
		"cut": whole[:len(whole)-40], "unknown compression": bzImage([]byte("????????"), 8),
		"not a kernel": bzImage(packed(t, []byte("text"))["gzip"], 4),
	} {
		if _, err := Extract(image); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
