package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/network"
)

const memoryTarget = 1.03

// benchMemory compares what banger's VMM and a bare one take once the guest's services have started, both alive at the
// time, so that what they share is shared by both.
func benchMemory(ctx context.Context, s *session) (result, error) {
	m, err := s.newHome(ctx)
	if err != nil {
		return result{}, err
	}
	defer m.close()
	bare, err := newBare(ctx, m)
	if err != nil {
		return result{}, err
	}
	var floors, products []int64
	var ratios []float64
	for i := range s.pairs {
		floor, product, err := memoryPair(ctx, m, bare, i)
		if err != nil {
			return result{}, err
		}
		floors, products = append(floors, floor), append(products, product)
		ratios = append(ratios, float64(product)/float64(floor))
	}
	r := result{
		what: "host memory per VM (PSS of the VMM)", floor: "bare QEMU, same arguments, same guest at the same point",
		floorTime: mebibytes(median(floors)), product: mebibytes(median(products)),
		median: fmt.Sprintf("%.3f", median(ratios)), worst: fmt.Sprintf("%.3f", slices.Max(ratios)),
		target: fmt.Sprint(memoryTarget), met: "yes",
	}
	if median(ratios) > memoryTarget {
		r.met = "no"
	}
	return r, nil
}

func memoryPair(ctx context.Context, m *home, bare bareVMM, i int) (floor, product int64, err error) {
	var v *bareVM
	err = inTurn(i,
		func() (err error) { v, err = bootConfigured(ctx, m, bare, network.Link{}); return },
		func() error {
			if err := m.startVM(ctx, "measured"); err != nil {
				return err
			}
			return settle(ctx, m, "measured")
		})
	if v != nil {
		defer v.close()
	}
	if err != nil {
		return 0, 0, err
	}
	measured, err := m.find(ctx, "measured")
	if err != nil {
		return 0, 0, err
	}
	pid, err := vmmPID(measured.dir)
	if err != nil {
		return 0, 0, err
	}
	if product, err = memory(pid, "smaps_rollup", "Pss"); err != nil {
		return 0, 0, err
	}
	if floor, err = memory(v.cmd.Process.Pid, "smaps_rollup", "Pss"); err != nil {
		return 0, 0, err
	}
	_, err = m.banger(ctx, "vm", "delete", "measured")
	return floor, product, err
}

// bootConfigured takes a bare guest to the point that banger takes its own to.
func bootConfigured(ctx context.Context, m *home, bare bareVMM, link network.Link) (*bareVM, error) {
	v, err := bare.start(ctx, m.host)
	if err != nil {
		return nil, err
	}
	go v.drain()
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	g, err := v.agent(ctx)
	if err != nil {
		return v, err
	}
	defer g.Close()
	err = g.Configure(ctx, guest.Config{
		Generation: 1, Hostname: "bare", MachineID: strings.Repeat("a", 32), Root: model.JoinNone.Serials(), Work: model.SerialWork, Modules: model.SerialModules,
		Init: model.InitSystemd, InitPath: "/usr/lib/systemd/systemd", Time: time.Now(), Entropy: make([]byte, 64), Link: link,
	})
	if err != nil {
		return v, err
	}
	return v, waitSettled(ctx, g)
}

func waitSettled(ctx context.Context, g *guest.Guest) error {
	a, err := g.Exec(ctx, "settle", model.ExecSpec{Argv: settled}, false)
	if err != nil {
		return err
	}
	defer a.Close()
	for {
		out, err := a.Recv()
		if err != nil {
			return err
		}
		if out.Exit != nil {
			return nil
		}
	}
}
