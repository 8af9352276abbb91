package port

import "testing"

// TestMemoryOfOneVM adds up what a VM's connections can hold at most: their number and their size are capped together.
func TestMemoryOfOneVM(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits(1 << 20)
	var total int64
	for n := range limits.TCP {
		size := window(int64(n + 1))
		if size == 0 {
			size = maxWindow
		}
		total += size
	}
	if most := int64(256 << 20); total > most {
		t.Errorf("%d connections hold up to %d MiB each way", limits.TCP, total>>20)
	}
}

func TestLimitsFitTheHost(t *testing.T) {
	t.Parallel()
	for _, files := range []uint64{256, 1024, 4096, 1 << 20, 1 << 40} {
		l := DefaultLimits(files)
		if held := l.TCP + l.UDP + l.Pings + l.Queries; l.TCP < 1 || l.Pending < 1 || l.UDP < 1 || l.Pings < 1 || l.Queries < 1 || uint64(held) > files/4 {
			t.Errorf("of %d files: %+v", files, l)
		}
	}
}
