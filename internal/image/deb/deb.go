// Package deb reads the files of a Debian binary package (deb(5)) without dpkg.
package deb

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

const (
	arMagic    = "!<arch>\n"
	headerSize = 60
	// maxWindow caps the memory that a compressed member may ask of us; dpkg itself uses at most 64 MiB.
	maxWindow = 128 << 20
	maxBytes  = 8 << 30 // unpacked size of a package, far above any
)

// Walk calls visit for each entry of the package's data, in order, with its name cleaned ("usr/bin/x") and its content.
// It stops at visit's first error and returns it.
func Walk(r io.Reader, visit func(name string, h *tar.Header, content io.Reader) error) error {
	member, suffix, err := dataMember(bufio.NewReaderSize(r, 1<<16))
	if err != nil {
		return err
	}
	data, err := decompress(suffix, member)
	if err != nil {
		return fmt.Errorf("the package's data is broken: %w", err)
	}
	defer data.Close()
	unpacked := io.LimitReader(data, maxBytes)
	files := tar.NewReader(unpacked)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return drain(unpacked, member)
		}
		if err != nil {
			return fmt.Errorf("the package's data is broken: %w", err)
		}
		if err := visit(strings.TrimPrefix(path.Clean("/"+h.Name), "/"), h, files); err != nil {
			return err
		}
	}
}

// drain reads what follows the last file, so that a package that was cut there, or whose checksum is wrong, is not taken
// for a whole one.
func drain(unpacked io.Reader, member *io.LimitedReader) error {
	if _, err := io.Copy(io.Discard, unpacked); err != nil {
		return fmt.Errorf("the package's data is broken: %w", err)
	}
	if _, err := io.Copy(io.Discard, member); err != nil {
		return err
	}
	if member.N > 0 {
		return fmt.Errorf("the package lacks its last %d bytes", member.N)
	}
	return nil
}

// dataMember finds the data.tar member of the ar archive and returns it with the suffix that tells its compression.
func dataMember(r *bufio.Reader) (*io.LimitedReader, string, error) {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != arMagic {
		return nil, "", fmt.Errorf("this is not a Debian package")
	}
	for {
		header := make([]byte, headerSize)
		if _, err := io.ReadFull(r, header); err != nil {
			return nil, "", fmt.Errorf("the package has no data member")
		}
		name := strings.TrimRight(string(header[:16]), " /")
		size, err := strconv.ParseInt(strings.TrimSpace(string(header[48:58])), 10, 64)
		if err != nil || size < 0 || string(header[58:]) != "`\n" {
			return nil, "", fmt.Errorf("the package's member %q has a broken header", name)
		}
		if suffix, ok := strings.CutPrefix(name, "data.tar"); ok {
			return &io.LimitedReader{R: r, N: size}, suffix, nil
		}
		if _, err := io.CopyN(io.Discard, r, size+size&1); err != nil {
			return nil, "", fmt.Errorf("the package ends within its member %q", name)
		}
	}
}

func decompress(suffix string, r io.Reader) (io.ReadCloser, error) {
	switch suffix {
	case "":
		return io.NopCloser(r), nil
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		x, err := xz.NewReader(r, maxWindow)
		return io.NopCloser(x), err
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("the package's data is compressed as data.tar%s, which is not known here", suffix)
}
