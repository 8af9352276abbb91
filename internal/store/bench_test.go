package store

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func BenchmarkVMs1000(b *testing.B) {
	s := open(b)
	for i := range 1000 {
		create(b, s, fmt.Sprintf("vm-%d", i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		vms, err := s.VMs(b.Context())
		if err != nil || len(vms) != 1000 {
			b.Fatal(len(vms), err)
		}
	}
}

func BenchmarkTouch(b *testing.B) {
	s := open(b)
	vm := create(b, s, "box")
	b.ResetTimer()
	for b.Loop() {
		if err := s.Touch(b.Context(), vm.ID); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVM(b *testing.B) {
	s := open(b)
	vm := create(b, s, "box")
	b.ResetTimer()
	for b.Loop() {
		if _, err := s.VM(b.Context(), vm.ID); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen also reports what an idle store keeps in memory.
func BenchmarkOpen(b *testing.B) {
	path := b.TempDir() + "/banger.db"
	for b.Loop() {
		s, err := Open(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "RssAnon") {
			b.Log(strings.TrimSpace(line))
		}
	}
}
