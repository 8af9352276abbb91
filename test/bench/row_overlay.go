package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An overlay root is measured against a qcow2 one, which it may cost a tenth more than.
const (
	qcow2Disk      = "qcow2"
	overlayDisk    = "overlay"
	overlayTarget  = "1.1 F"
	overlayPercent = 110
)

// benchOverlay compares boots.
func benchOverlay(ctx context.Context, s *session) (result, error) {
	m, err := s.newHome(ctx)
	if err != nil {
		return result{}, err
	}
	defer m.close()
	var pairs []pair
	for i := range s.pairs {
		var floor, product booted
		err := inTurn(i,
			func() (err error) { floor, err = bootProduct(ctx, m, qemuCourse(), "--root-disk", qcow2Disk); return },
			func() (err error) {
				product, err = bootProduct(ctx, m, qemuCourse(), "--root-disk", overlayDisk)
				return
			})
		if err != nil {
			return result{}, err
		}
		pairs = append(pairs, pair{floor.took, product.took, floor.took * overlayPercent / 100})
	}
	return paired("`vm run --root-disk overlay -- echo x`, CLI start to first byte", "F: the same with `qcow2`", overlayTarget, pairs), nil
}

const randomReads = 4000

// benchOverlayRead compares reads of 4 KiB at random places, past the guest's page cache.
func benchOverlayRead(ctx context.Context, s *session) (result, error) {
	m, err := s.newHome(ctx)
	if err != nil {
		return result{}, err
	}
	defer m.close()
	reader := filepath.Join(s.dir, "reader")
	build := exec.CommandContext(ctx, "go", "build", "-o", reader, "./test/bench/reader")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return result{}, fmt.Errorf("cannot build the reader: %w: %s", err, out)
	}
	for _, disk := range []string{qcow2Disk, overlayDisk} {
		if _, err := m.banger(ctx, "vm", "run", "--quiet", "-d", "--name", disk, "--root-disk", disk); err != nil {
			return result{}, err
		}
		if _, err := m.banger(ctx, "cp", reader, disk+":/usr/local/bin/reader"); err != nil {
			return result{}, err
		}
		if err := settle(ctx, m, disk); err != nil {
			return result{}, err
		}
	}
	largest, err := m.banger(ctx, "vm", "exec", qcow2Disk, "--", "sh", "-c", `find /usr -xdev -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-`)
	if err != nil {
		return result{}, err
	}
	var pairs []pair
	var notes []string
	for _, of := range []struct{ what, file string }{{"a file of the image", largest}, {"a file that the VM wrote", "/var/own"}} {
		var floors, products []time.Duration
		for i := range s.pairs + 1 {
			var floor, product time.Duration
			err := inTurn(i,
				func() (err error) { floor, err = m.readRandomly(ctx, qcow2Disk, of.file); return },
				func() (err error) { product, err = m.readRandomly(ctx, overlayDisk, of.file); return })
			if err != nil {
				return result{}, err
			}
			if i == 0 {
				continue // it brings the file into the host's page cache
			}
			floors, products = append(floors, floor), append(products, product)
			pairs = append(pairs, pair{floor, product, floor * overlayPercent / 100})
		}
		notes = append(notes, fmt.Sprintf("- of %s: qcow2 %s, overlay %s", of.what, microseconds(median(floors)), microseconds(median(products))))
	}
	r := paired("a read of 4 KiB at a random place, `overlay` root", "F: the same of a `qcow2` root", overlayTarget, pairs)
	r.notes = notes
	return r, nil
}

func (m *home) readRandomly(ctx context.Context, vm, file string) (time.Duration, error) {
	out, err := m.banger(ctx, "vm", "exec", vm, "--", "reader", file, strconv.Itoa(randomReads))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(out, 10, 64)
	return time.Duration(n), err
}

func microseconds(d time.Duration) string { return fmt.Sprintf("%.0f µs", d.Seconds()*1e6) }

const cachedVMs = 10

// benchOverlayCache compares what the disks of several VMs take of the host's page cache once each has read its programs and
// libraries.
func benchOverlayCache(ctx context.Context, s *session) (result, error) {
	m, err := s.newHome(ctx)
	if err != nil {
		return result{}, err
	}
	defer m.close()
	floor, err := m.cacheOf(ctx, qcow2Disk)
	if err != nil {
		return result{}, err
	}
	product, err := m.cacheOf(ctx, overlayDisk)
	if err != nil {
		return result{}, err
	}
	ratio := float64(product.total()) / float64(floor.total())
	r := result{
		what: fmt.Sprintf("page cache of the root disks of %d VMs, `overlay`", cachedVMs), floor: "F: the same with `qcow2`",
		floorTime: mebibytes(floor.total()), product: mebibytes(product.total()),
		median: fmt.Sprintf("%.2f", ratio), worst: fmt.Sprintf("%.2f", ratio), target: overlayTarget, met: "yes",
	}
	if ratio*100 > overlayPercent {
		r.met = "no"
	}
	for _, c := range []struct {
		disk string
		cached
	}{{qcow2Disk, floor}, {overlayDisk, product}} {
		r.notes = append(r.notes, fmt.Sprintf("- %s: the image %s, once for all; the %d VMs' own layers %s", c.disk, mebibytes(c.image), cachedVMs, mebibytes(c.own)))
	}
	return r, nil
}

// cached is what lies in the host's page cache.
type cached struct{ image, own int64 }

func (c cached) total() int64 { return c.image + c.own }

func (m *home) cacheOf(ctx context.Context, disk string) (c cached, err error) {
	images, err := filepath.Glob(filepath.Join(m.dirs.Images(), "*", "root.ext4"))
	if err != nil {
		return c, err
	}
	for _, image := range images {
		if err := evict(image); err != nil {
			return c, err
		}
	}
	var names []string
	for i := range cachedVMs {
		name := fmt.Sprintf("%s-%d", disk, i)
		if _, err := m.banger(ctx, "vm", "run", "--quiet", "-d", "-m", "256M", "--name", name, "--root-disk", disk); err != nil {
			return c, err
		}
		names = append(names, name)
		if _, err := m.banger(ctx, "vm", "exec", name, "--", "sh", "-c", "cat /usr/bin/* /usr/lib/x86_64-linux-gnu/*.so* >/dev/null"); err != nil {
			return c, err
		}
	}
	for _, image := range images {
		n, err := resident(image)
		if err != nil {
			return c, err
		}
		c.image += n
	}
	own, err := filepath.Glob(filepath.Join(m.dirs.VMs(), "*", map[string]string{qcow2Disk: "root.qcow2", overlayDisk: "upper.ext4"}[disk]))
	if err != nil {
		return c, err
	}
	if len(own) != cachedVMs {
		return c, fmt.Errorf("found the layers %s, want %d", strings.Join(own, " "), cachedVMs)
	}
	for _, path := range own {
		n, err := resident(path)
		if err != nil {
			return c, err
		}
		c.own += n
	}
	_, err = m.banger(ctx, append([]string{"vm", "delete"}, names...)...)
	return c, err
}

// evict takes a file that nobody writes out of the page cache.
func evict(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// resident returns how many bytes of a file are in the page cache.
func resident(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	mapped, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, fmt.Errorf("cannot map %s: %w", path, err)
	}
	defer unix.Munmap(mapped)
	page := os.Getpagesize()
	states := make([]byte, (len(mapped)+page-1)/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mapped[0])), uintptr(len(mapped)), uintptr(unsafe.Pointer(&states[0])))
	if errno != 0 {
		return 0, fmt.Errorf("cannot ask for the cached pages of %s: %w", path, errno)
	}
	var n int64
	for _, s := range states {
		n += int64(s & 1)
	}
	return n * int64(page), nil
}
