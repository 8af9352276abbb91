package layers

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

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

// BenchmarkConvert compares converting with its slowest stage run alone, decompressing: the two run in turn, so that both
// meet the same load of the host. The ratio is the one's speed over the other's.
func BenchmarkConvert(b *testing.B) {
	for _, c := range []struct {
		name   string
		layers int
		o      Options
	}{{"one layer, read once", 1, Options{Once: true}}, {"one layer, kept", 1, Options{Scratch: b.TempDir()}}, {"four layers, kept", 4, Options{Scratch: b.TempDir()}}} {
		b.Run(c.name, func(b *testing.B) {
			var ls []Layer
			var total int64
			for i := range c.layers {
				data := programs(b, (256<<20)/c.layers, fmt.Sprint("layer", i))
				total += int64(len(data))
				ls = append(ls, blob(gzipped(b, data)))
			}
			c.o.Limits = DefaultLimits()
			path := filepath.Join(b.TempDir(), "root.ext4")
			b.SetBytes(total)
			var alone, all []time.Duration
			for b.Loop() {
				start := time.Now()
				for _, l := range ls {
					decompress(b, l)
				}
				alone = append(alone, time.Since(start))
				start = time.Now()
				convert(b, path, ls, c.o)
				all = append(all, time.Since(start))
				os.Remove(path)
			}
			b.ReportMetric(float64(slices.Min(alone))/float64(slices.Min(all)), "x-gunzip")
		})
	}
}

func decompress(b *testing.B, l Layer) {
	in, err := l.Open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, z); err != nil {
		b.Fatal(err)
	}
}
