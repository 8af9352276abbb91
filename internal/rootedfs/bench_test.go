package rootedfs_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"banger/internal/rootedfs"
)

// manyFiles makes a directory of n small files.
func manyFiles(b testing.TB, n int) (dir string) {
	b.Helper()
	dir = b.TempDir()
	for i := range n {
		name := filepath.Join(dir, "tree", fmt.Sprint("d", i/100), fmt.Sprint("f", i%100))
		if i%100 == 0 {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(name, bytes.Repeat([]byte{'x'}, 200+i*37%3000), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

func BenchmarkPackSmallFiles(b *testing.B) {
	root := open(b, manyFiles(b, 2000))
	for b.Loop() {
		if _, err := root.Pack(b.Context(), "tree", io.Discard, rootedfs.PackOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExtractSmallFiles(b *testing.B) {
	archive := pack(b, manyFiles(b, 2000), "tree", rootedfs.PackOptions{})
	root := open(b, b.TempDir())
	i := 0
	for b.Loop() {
		i++
		if _, err := root.Extract(b.Context(), bytes.NewReader(archive), rootedfs.ExtractOptions{Name: "tree", Owner: &rootedfs.Owner{}}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		root.RemoveAll("tree")
		b.StartTimer()
	}
}
