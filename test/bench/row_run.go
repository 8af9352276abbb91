package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bareCommand makes the agent run the row's command on the console instead of waiting for a host, and bareLine is what it
// says first of all.
const (
	bareCommand = "banger.bench=/bin/echo,x"
	bareLine    = "banger.bench: init"
)

// booted is one boot, up to its first byte.
type booted struct {
	took, init, cpu time.Duration
	told            time.Duration   // of a floor in Firecracker: when it knew what to run
	busy            time.Duration   // of all that ran on the host meanwhile
	spans           []time.Duration // as named by the course
}

// course is how a VMM's run is told from outside: by files of the VM's directory that its driver makes before it starts the
// VMM, and once that is there. They part a run, from the CLI's start to the first byte, without gaps.
type course struct {
	before, after string
	spans         [6]string
}

func qemuCourse() course {
	return course{before: "qmp", after: "console.log", spans: [...]string{
		"CLI starts, until the daemon begins the operation",
		"row, directory and disks are made",
		"what a boot takes is found and attached, until the VMM's sockets are made",
		"QEMU starts, until its monitor answers",
		"the guest boots, until it is configured",
		"the command starts, until its first byte",
	}}
}

func benchRun(ctx context.Context, s *session) (result, error) {
	m, err := s.newHome(ctx)
	if err != nil {
		return result{}, err
	}
	defer m.close()
	bare, err := newBare(ctx, m)
	if err != nil {
		return result{}, err
	}
	var pairs []pair
	var floors, products []booted
	for i := range s.pairs {
		var floor, product booted
		err := inTurn(i,
			func() (err error) { floor, err = bootBare(ctx, s.host, bare); return },
			func() (err error) { product, err = bootProduct(ctx, m, qemuCourse()); return })
		if err != nil {
			return result{}, err
		}
		floors, products = append(floors, floor), append(products, product)
		pairs = append(pairs, pair{floor.took, product.took, floor.took * 115 / 100})
	}
	r := paired("`vm run -- echo x`, CLI start to first byte", "F: bare QEMU to the same echo", "1.15 F", pairs)
	r.notes = runNotes(qemuCourse(), floors, products)
	return r, nil
}

// inTurn measures floor and product, the one first that was second in the pair before.
func inTurn(i int, floor, product func() error) error {
	if i%2 == 1 {
		floor, product = product, floor
	}
	if err := floor(); err != nil {
		return err
	}
	return product()
}

func bootBare(ctx context.Context, h *host, bare bareVMM) (booted, error) {
	v, err := bare.start(ctx, h, bareCommand)
	if err != nil {
		return booted{}, err
	}
	defer v.close()
	var b booted
	if b.init, err = v.await(ctx, bareLine); err != nil {
		return b, err
	}
	if b.took, err = v.await(ctx, "x"); err != nil {
		return b, err
	}
	b.cpu, err = v.cpu()
	return b, err
}

// bootProduct times a run with more flags.
func bootProduct(ctx context.Context, m *home, c course, flags ...string) (booted, error) {
	before, err := entries(m.dirs.VMs())
	if err != nil {
		return booted{}, err
	}
	log, err := openLog(m.dirs.Log())
	if err != nil {
		return booted{}, err
	}
	defer log.Close()
	cmd := m.command(ctx, append(append([]string{"vm", "run", "--quiet"}, flags...), "--", "echo", "x")...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return booted{}, err
	}
	idle, busyErr := busy()
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return booted{}, err
	}
	first := make([]byte, 1)
	_, readErr := io.ReadFull(out, first)
	ended := time.Now()
	b := booted{took: ended.Sub(begun)}
	b.busy, err = busy()
	b.busy -= idle
	marks, markErr := vmmMarks(m.dirs.VMs(), before, c, &b)
	markErr = firstError(busyErr, err, markErr)
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil || readErr != nil {
		return b, fmt.Errorf("banger vm run: %w: %s", firstError(readErr, err), strings.TrimSpace(stderr.String()))
	}
	if markErr != nil {
		return b, markErr
	}
	events, err := log.events()
	if err != nil {
		return b, err
	}
	at := []time.Time{begun, events.operation, events.made, marks.before, marks.after, events.running, ended}
	for i := range c.spans {
		b.spans = append(b.spans, at[i+1].Sub(at[i]))
	}
	return b, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// marks are when the driver made things in a VM's directory.
type marks struct{ before, after time.Time }

// vmmMarks looks at the VM that was not there before, as long as it lives.
func vmmMarks(dir string, before map[string]bool, c course, b *booted) (m marks, err error) {
	now, err := entries(dir)
	for name := range now {
		if before[name] {
			continue
		}
		vmDir := filepath.Join(dir, name)
		pid, pidErr := vmmPID(vmDir)
		if pidErr != nil {
			return m, pidErr
		}
		if b.cpu, err = cpuTime(pid); err != nil {
			return m, err
		}
		if m.before, err = born(filepath.Join(vmDir, c.before)); err != nil {
			return m, err
		}
		m.after, err = born(filepath.Join(vmDir, c.after))
		return m, err
	}
	return m, firstError(err, fmt.Errorf("cannot find the VM that said the first byte"))
}

// born returns when a file was made.
func born(path string) (time.Time, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BTIME, &st); err != nil {
		return time.Time{}, fmt.Errorf("cannot look at %s: %w", path, err)
	}
	return time.Unix(st.Btime.Sec, int64(st.Btime.Nsec)), nil
}

func entries(dir string) (map[string]bool, error) {
	list, err := os.ReadDir(dir)
	names := map[string]bool{}
	for _, e := range list {
		names[e.Name()] = true
	}
	return names, err
}

func runNotes(c course, floors, products []booted) []string {
	cpu := func(b booted) float64 { return b.cpu.Seconds() }
	notes := []string{
		fmt.Sprintf("The first line of the agent in the floor's boots: after %s.", milliseconds(median(each(floors, func(b booted) time.Duration { return b.init })))),
		fmt.Sprintf("CPU time of the VMM at the first byte: floor %.2f s, banger %.2f s.", median(each(floors, cpu)), median(each(products, cpu))),
		"", "| part of banger's time | median | share |", "|---|---|---|",
	}
	for i, name := range c.spans {
		took := median(each(products, func(b booted) time.Duration { return b.spans[i] }))
		share := median(each(products, func(b booted) float64 { return float64(b.spans[i]) / float64(b.took) }))
		notes = append(notes, fmt.Sprintf("| %s | %s | %.0f %% |", name, milliseconds(took), 100*share))
	}
	covered := median(each(products, func(b booted) float64 {
		var sum time.Duration
		for _, d := range b.spans {
			sum += d
		}
		return float64(sum) / float64(b.took)
	}))
	return append(notes, "", fmt.Sprintf("The parts cover %.0f %% of the time.", 100*covered))
}
