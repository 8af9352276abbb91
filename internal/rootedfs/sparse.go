package rootedfs

import (
	"archive/tar"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// A file with holes travels as the data between them. The map stands in records of the entry's header, in the shape of
// GNU tar's format 0.1. Between our own two ends they have names of ours: archive/tar would read the GNU ones, and give
// back each hole as zeros. Ours are as long, and sort in the order that GNU tar insists on.
const (
	sparsePrefix = "GNU.sparse."

	recordBlocks, gnuBlocks = "BGR1sparse.numblocks", "GNU.sparse.numblocks"
	recordSize, gnuSize     = "BGR2sparse.size", "GNU.sparse.size"
	recordMap, gnuMap       = "BGR3sparse.map", "GNU.sparse.map"

	maxSegments = 4096 // of one file; what is finer broken travels with its zeros
)

// segment is a stretch of data in a file.
type segment struct{ offset, length int64 }

// isSparse says of an entry that another program wrote that zeros in it stand for holes.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, sparsePrefix) {
			return true
		}
	}
	return false
}

// mapOf reads an entry's map; no segments when it has none.
func mapOf(h *tar.Header) (segments []segment, size int64, err error) {
	text, ok := h.PAXRecords[recordMap]
	if !ok {
		return nil, 0, nil
	}
	bad := model.Errorf(model.ErrInvalid, "cannot read the archive: %q has a map of its holes that makes no sense", short(h.Name))
	size, err = strconv.ParseInt(h.PAXRecords[recordSize], 10, 64)
	if err != nil || size < 0 || size > maxFile {
		return nil, 0, bad
	}
	segments = []segment{}
	var at, total int64
	for text != "" {
		var offset, length string
		offset, text, _ = strings.Cut(text, ",")
		length, text, _ = strings.Cut(text, ",")
		o, err1 := strconv.ParseInt(offset, 10, 64)
		n, err2 := strconv.ParseInt(length, 10, 64)
		if err1 != nil || err2 != nil || o < at || n < 0 || o > size || n > size-o || len(segments) > maxSegments {
			return nil, 0, bad
		}
		at, total = o+n, total+n
		segments = append(segments, segment{o, n})
	}
	if total != h.Size {
		return nil, 0, bad
	}
	return segments, size, nil
}

// holes finds the data of a file; nil when it has no holes that are worth a map.
func holes(f rawFile, info Info) ([]segment, error) {
	if info.Size == 0 || info.Blocks*512 >= info.Size {
		return nil, nil
	}
	segments := []segment{}
	for at := int64(0); at < info.Size; {
		data, err := unix.Seek(f.fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // nothing but a hole up to the end
		}
		if err != nil {
			return nil, nil //nolint:nilerr // a file system that knows no holes
		}
		if data >= info.Size {
			break
		}
		end, err := unix.Seek(f.fd, data, unix.SEEK_HOLE)
		if errors.Is(err, unix.ENXIO) {
			break // it has just been cut short: what is gone reads as a hole
		}
		if err != nil {
			return nil, wrap("read", f.name, err)
		}
		if len(segments) == maxSegments-2 {
			end = info.Size
		}
		end = min(end, info.Size)
		segments = append(segments, segment{data, end - data})
		at = end
	}
	if len(segments) == 1 && segments[0] == (segment{0, info.Size}) {
		return nil, nil
	}
	if len(segments) == 0 || segments[len(segments)-1].offset+segments[len(segments)-1].length < info.Size {
		segments = append(segments, segment{info.Size, 0}) // a hole up to the end
	}
	return segments, nil
}

// setMap writes the map into an entry's header.
func setMap(h *tar.Header, segments []segment, size int64) {
	var b strings.Builder
	h.Size = 0
	for i, s := range segments {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(s.offset, 10) + "," + strconv.FormatInt(s.length, 10))
		h.Size += s.length
	}
	if h.PAXRecords == nil {
		h.PAXRecords = map[string]string{}
	}
	h.PAXRecords[recordMap] = b.String()
	h.PAXRecords[recordBlocks] = strconv.Itoa(len(segments))
	h.PAXRecords[recordSize] = strconv.FormatInt(size, 10)
}
