package layers

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"banger/internal/image/ext4"
)

func cpu() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(0, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func BenchmarkCPU(b *testing.B) {
	data := programs(b, 256<<20, "l")
	packed := gzipped(b, data)
	ls := []Layer{blob(packed)}
	dir := b.TempDir()
	m := func(name string, f func()) {
		c, w := cpu(), time.Now()
		f()
		fmt.Printf("%-20s cpu %v wall %v\n", name, cpu()-c, time.Since(w))
	}
	for range 3 {
		m("gunzip", func() {
			z, _ := gzip.NewReader(bytes.NewReader(packed))
			io.Copy(io.Discard, z)
		})
		m("ext4.Write", func() {
			p := filepath.Join(dir, "a")
			os.Remove(p)
			ext4.Write(b.Context(), p, bytes.NewReader(data))
		})
		o := Options{Limits: DefaultLimits(), Scratch: dir}
		m("flatten kept", func() { Flatten(b.Context(), io.Discard, ls, o) })
		m("convert kept", func() { p := filepath.Join(dir, "a"); os.Remove(p); convert(b, p, ls, o) })
		o.Scratch = ""
		o.Once = true
		m("flatten once", func() { Flatten(b.Context(), io.Discard, ls, o) })
		m("convert once", func() { p := filepath.Join(dir, "a"); os.Remove(p); convert(b, p, ls, o) })
		o.Once = false
		m("flatten twice", func() { Flatten(b.Context(), io.Discard, ls, o) })
		m("convert twice", func() { p := filepath.Join(dir, "a"); os.Remove(p); convert(b, p, ls, o) })
	}
}
