package sparse

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"banger/internal/model"
)

// TestDigestsKnowNoHoles writes one content with different zeros as holes, in pages, as copying does.
func TestDigestsKnowNoHoles(t *testing.T) {
	t.Parallel()
	const page = 4096
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 0))
		begin := int(seed%3) * (segment - 2*chunk) // of the content, before which there is nothing
		size := begin + 6*chunk + random.IntN(chunk)
		content := make([]byte, size)
		for at := begin; at < size; at += page {
			if random.IntN(24) == 0 { // so that some chunks are empty
				content[at+random.IntN(min(page, size-at))] = byte(1 + random.IntN(255))
			}
		}
		plain := model.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(content)))
		full := int64(0)
		for part := range slices.Chunk(content, chunk) {
			if string(part) != string(make([]byte, len(part))) {
				full++
			}
		}
		segments := segmented(content)
		var data model.Digest
		for layout := range 4 {
			file := newFile(t)
			if err := file.Truncate(int64(size)); err != nil {
				t.Fatal(err)
			}
			for at := begin; at < size; at += page {
				part := content[at:min(at+page, size)]
				if layout == 0 || string(part) != string(make([]byte, len(part))) || layout > 1 && random.IntN(2) == 0 {
					if _, err := file.WriteAt(part, int64(at)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got, err := Digest(t.Context(), file); err != nil || got != plain {
				t.Errorf("seed %d, layout %d: %s, %v; want %s", seed, layout, got, err, plain)
			}
			got, err := DataDigest(t.Context(), file)
			if err != nil {
				t.Fatal(err)
			}
			if data == "" {
				data = got
			}
			if got != data {
				t.Errorf("seed %d, layout %d: the digest of its data is another one", seed, layout)
			}
			if got, err := SegmentDigest(t.Context(), file); err != nil || got != segments {
				t.Errorf("seed %d, layout %d: %s of its segments, %v; want %s", seed, layout, got, err, segments)
			}
			if got, err := Seal(t.Context(), file, nil); err != nil || got != segments {
				t.Errorf("seed %d, layout %d, sealed: %s, %v; want %s", seed, layout, got, err, segments)
			}
			if got, err := Allocated(file); err != nil || got > full*chunk+4*page { // some are where the others are listed
				t.Errorf("seed %d, layout %d: %d bytes are allocated for %d chunks with data, %v", seed, layout, got, full, err)
			}
			if got, err := Digest(t.Context(), file); err != nil || got != plain {
				t.Errorf("seed %d, layout %d, afterwards: %s, %v", seed, layout, got, err)
			}
		}
	}
}

// segmented is what SegmentDigest is to be of a content, made another way.
func segmented(content []byte) model.Digest {
	var all []byte
	for i, part := range slices.Collect(slices.Chunk(content, segment)) {
		var data []byte
		for j, piece := range slices.Collect(slices.Chunk(part, chunk)) {
			if string(piece) == string(make([]byte, len(piece))) {
				continue
			}
			data = binary.BigEndian.AppendUint64(data, uint64(i*segment+j*chunk))
			data = binary.BigEndian.AppendUint64(data, uint64(len(piece)))
			data = append(data, piece...)
		}
		if data != nil {
			sum := sha256.Sum256(data)
			all = append(binary.BigEndian.AppendUint64(all, uint64(i*segment)), sum[:]...)
		}
	}
	return model.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(binary.BigEndian.AppendUint64(all, uint64(len(content))))))
}
