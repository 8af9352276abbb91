package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Both have a console, by which the floor's first byte is seen; else banger gives none.
const (
	unjailedConfig = "vcpus = 1\n[firecracker]\nconsole = true\njail = false\n"
	jailedConfig   = "vcpus = 1\n[firecracker]\nconsole = true\n"
)

func firecrackerFlags() []string {
	return []string{"--vmm", "firecracker", "--root-disk", "dm-snapshot", "--network", "none"}
}

func firecrackerCourse(how string) course {
	return course{before: "firecracker.log", after: "console.log", spans: [...]string{
		"CLI starts, until the daemon begins the operation",
		"row, directory and disks are made",
		"what a boot takes is found and attached, until Firecracker can be started",
		"Firecracker starts" + how + ", until it has been told what to run",
		"the guest boots, until it is configured",
		"the command starts, until its first byte",
	}}
}

func benchFirecracker(ctx context.Context, s *session) (result, error) {
	return benchInFirecracker(ctx, s, false)
}

func benchJailed(ctx context.Context, s *session) (result, error) {
	return benchInFirecracker(ctx, s, true)
}

func benchInFirecracker(ctx context.Context, s *session, jailed bool) (_ result, err error) {
	m, err := s.newHome(ctx)
	if err != nil {
		return result{}, err
	}
	defer m.close()
	if err := m.configure(ctx, unjailedConfig); err != nil {
		return result{}, err
	}
	bare, err := newBareFirecracker(ctx, m)
	if err != nil {
		return result{}, err
	}
	defer bare.snapshots.close()
	what, floorIs, how := "`vm run --vmm firecracker --root-disk dm-snapshot -- echo x`", "F: bare Firecracker, over its API, to the same echo", ""
	if jailed {
		what, floorIs, how = what+", in a jail", floorIs+", by its jailer", " in its jail"
		bare.jailed = true
		if err := m.configure(ctx, jailedConfig); err != nil {
			return result{}, err
		}
	}
	var pairs []pair
	var floors, products []booted
	for i := range s.pairs {
		var floor, product booted
		err := inTurn(i,
			func() (err error) { floor, err = bootFirecracker(ctx, s.host, bare); return },
			func() (err error) {
				if err := quiet(ctx); err != nil {
					return err
				}
				product, err = bootProduct(ctx, m, firecrackerCourse(how), firecrackerFlags()...)
				return
			})
		if err != nil {
			return result{}, err
		}
		floors, products = append(floors, floor), append(products, product)
		pairs = append(pairs, pair{floor.took, product.took, floor.took * 115 / 100})
	}
	r := paired(what, floorIs, "1.15 F", pairs)
	r.notes = append(busyNotes(floors, products), runNotes(firecrackerCourse(how), floors, products)...)
	return r, nil
}

func bootFirecracker(ctx context.Context, h *host, bare bareFirecracker) (b booted, err error) {
	v, err := bare.prepare(h)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	if err := quiet(ctx); err != nil {
		return b, err
	}
	return v.boot(ctx)
}

// busyNotes tell of the processor, of which a lab has one.
func busyNotes(floors, products []booted) []string {
	of := func(b booted) time.Duration { return b.busy }
	var ratios []float64
	for i := range floors {
		ratios = append(ratios, float64(products[i].busy)/float64(floors[i].busy))
	}
	told := median(each(floors, func(b booted) time.Duration { return b.told }))
	return []string{fmt.Sprintf("The floor has been told what to run after %s.", milliseconds(told)), fmt.Sprintf("Time of the processor, of all that ran until then: floor %s, banger %s, ratio %.2f (medians). The target is held to the clock's.",
		milliseconds(median(each(floors, of))), milliseconds(median(each(products, of))), median(ratios))}
}
