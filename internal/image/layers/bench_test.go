package layers

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// programs is a tar of about size bytes that compresses as programs do, three to one.
func programs(b *testing.B, size int, prefix string) []byte {
	b.Helper()
	var words [4096][]byte
	random := rand.New(rand.NewPCG(1, uint64(len(prefix))))
	for i := range words {
		words[i] = make([]byte, 4+random.IntN(8))
		for j := range words[i] {
			words[i][j] = byte(random.IntN(256))
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; out.Len() < size; i++ {
		var content []byte
		for want := 1 << random.IntN(21); len(content) < want; {
			content = append(content, words[int(random.ExpFloat64()*400)%len(words)]...)
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%s/%d/f%d", prefix, i%50, i), Mode: 0o644, Size: int64(len(content))}); err != nil {
			b.Fatal(err)
		}
		w.Write(content)
	}
	w.Close()
	return out.Bytes()
}

// BenchmarkConvert compares converting with its slowest stage run alone, decompressing.
func BenchmarkConvert(b *testing.B) {
	for _, n := range []int{1, 4} {
		var ls []Layer
		var total int64
		for i := range n {
			data := programs(b, (256<<20)/n, fmt.Sprint("layer", i))
			total += int64(len(data))
			packed := gzipped(b, data)
			b.Logf("layer %d: %d to %d", i, len(data), len(packed))
			ls = append(ls, blob(packed))
		}
		b.Run(fmt.Sprintf("gunzip/%d", n), func(b *testing.B) {
			b.SetBytes(total)
			for b.Loop() {
				for _, l := range ls {
					in, _ := l.Open(b.Context())
					z, err := gzip.NewReader(in)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, z); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
		for _, scratch := range []string{b.TempDir(), ""} {
			o := Options{Limits: DefaultLimits(), Scratch: scratch}
			o.Rules.PadInodes = true
			b.Run(fmt.Sprintf("flatten/%d/kept=%t", n, scratch != ""), func(b *testing.B) {
				b.SetBytes(total)
				for b.Loop() {
					if _, err := Flatten(b.Context(), io.Discard, ls, o); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("convert/%d/kept=%t", n, scratch != ""), func(b *testing.B) {
				b.SetBytes(total)
				dir := b.TempDir()
				for b.Loop() {
					path := filepath.Join(dir, "root.ext4")
					os.Remove(path)
					convert(b, path, ls, o)
				}
			})
		}
	}
}
