// Command reader runs in a guest. It reads blocks of 4 KiB at random places of a file, past the guest's page cache, and
// prints how many nanoseconds one took, the median of all, which a busy host spoils least: reader FILE COUNT. A FILE that is
// missing is made first, of 64 MiB.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	block = 4096
	made  = 64 << 20
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: reader FILE COUNT")
		os.Exit(2)
	}
	took, err := read(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "reader:", err)
		os.Exit(1)
	}
	fmt.Println(took.Nanoseconds())
}

func read(path, times string) (time.Duration, error) {
	count, err := strconv.Atoi(times)
	if err != nil || count < 1 {
		return 0, fmt.Errorf("%q is no number of reads", times)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := fill(path); err != nil {
			return 0, err
		}
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	blocks := info.Size() / block
	if blocks < 1 {
		return 0, fmt.Errorf("%s is too small", path)
	}
	buf := aligned()
	random := rand.New(rand.NewPCG(1, 2)) // the same places each time
	took := make([]time.Duration, count)
	for i := range took {
		begun := time.Now()
		if _, err := file.ReadAt(buf, random.Int64N(blocks)*block); err != nil {
			return 0, err
		}
		took[i] = time.Since(begun)
	}
	slices.Sort(took)
	return took[count/2], nil
}

// aligned is a buffer that direct input takes: at an address that is a multiple of its size.
func aligned() []byte {
	raw := make([]byte, 2*block)
	skip := block - int(uintptr(unsafe.Pointer(&raw[0]))%block)
	return raw[skip : skip+block]
}

func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for i := range buf {
		buf[i] = byte(rand.Uint32())
	}
	for range made / len(buf) {
		if _, err := file.Write(buf); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return errors.Join(file.Sync(), file.Close())
}
