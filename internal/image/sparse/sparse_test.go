package sparse

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"banger/internal/model"
)

// TestDigestsKnowNoHoles writes one content with different zeros as holes, in pages, as copying does.
func TestDigestsKnowNoHoles(t *testing.T) {
	t.Parallel()
	const page = 4096
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 0))
		size := 6*chunk + random.IntN(chunk)
		content := make([]byte, size)
		for at := 0; at < size; at += page {
			if random.IntN(3) == 0 {
				content[at+random.IntN(min(page, size-at))] = byte(1 + random.IntN(255))
			}
		}
		plain := model.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(content)))
		var data model.Digest
		for layout := range 4 {
			file, err := os.Create(filepath.Join(t.TempDir(), "file"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := file.Truncate(int64(size)); err != nil {
				t.Fatal(err)
			}
			for at := 0; at < size; at += page {
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
			if err := Punch(t.Context(), file); err != nil {
				t.Fatal(err)
			}
			if got, err := Digest(t.Context(), file); err != nil || got != plain {
				t.Errorf("seed %d, layout %d, punched: %s, %v", seed, layout, got, err)
			}
		}
	}
}
