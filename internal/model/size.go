package model

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Sizes in bytes. banger counts in powers of two, as docker does for memory.
const (
	KiB int64 = 1 << 10
	MiB int64 = 1 << 20
	GiB int64 = 1 << 30
	TiB int64 = 1 << 40
)

// ParseSize reads a size such as 512M, 4GiB, 1.5g or 1073741824 (bytes) and returns it in bytes. K, M, G and T are
// powers of 1024, with or without a following "iB" or "B", in either case.
func ParseSize(text string) (int64, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	bad := func() (int64, error) {
		return 0, Errorf(ErrInvalid, "%q is not a size: write a positive number and K, M, G or T, such as 512M or 4GiB", text)
	}
	number := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz ")
	unit := map[string]int64{
		"": 1, "b": 1, "k": KiB, "kb": KiB, "kib": KiB, "m": MiB, "mb": MiB, "mib": MiB,
		"g": GiB, "gb": GiB, "gib": GiB, "t": TiB, "tb": TiB, "tib": TiB,
	}[strings.TrimSpace(s[len(number):])]
	if unit == 0 || number == "" || strings.Trim(number, "0123456789.") != "" {
		return bad()
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n <= 0 || n*float64(unit) < 1 {
		return bad()
	}
	if n*float64(unit) >= math.MaxInt64 {
		return 0, Errorf(ErrInvalid, "%q is too large for a size", text)
	}
	return int64(n * float64(unit)), nil
}

// FormatSize writes bytes for people: 512 MiB, 1.5 GiB.
func FormatSize(bytes int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{TiB, "TiB"}, {GiB, "GiB"}, {MiB, "MiB"}, {KiB, "KiB"}} {
		if bytes >= u.size {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(bytes)/float64(u.size)), ".0") + " " + u.name
		}
	}
	return fmt.Sprintf("%d B", bytes)
}
