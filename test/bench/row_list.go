package main

import (
	"context"
	"fmt"
	"time"

	"banger/internal/model"
	"banger/internal/store"
)

const listed = 1000

func benchList(ctx context.Context, s *session) (result, error) {
	m, err := s.newHome(ctx)
	if err != nil {
		return result{}, err
	}
	defer m.close()
	if _, err := m.banger(ctx, "daemon", "stop"); err != nil {
		return result{}, err
	}
	if err := fill(ctx, m.dirs.Database()); err != nil {
		return result{}, err
	}
	if _, err := m.banger(ctx, "vm", "list"); err != nil { // starts the daemon
		return result{}, err
	}
	r, err := besideCLI(ctx, s, m, []string{"vm", "list"}, func(c time.Duration) time.Duration { return 3*c + 6*time.Millisecond })
	r.what, r.target = fmt.Sprintf("`vm list` of %d stopped VMs", listed), "3 C + 6 ms"
	return r, err
}

// besideCLI measures a command beside the CLI's mere start and end.
func besideCLI(ctx context.Context, s *session, m *home, args []string, allowed func(time.Duration) time.Duration) (result, error) {
	var pairs []pair
	for i := range s.pairs {
		var p pair
		err := inTurn(i,
			func() (err error) { p.floor, err = m.timed(ctx, "version", "--client"); return },
			func() (err error) { p.product, err = m.timed(ctx, args...); return })
		if err != nil {
			return result{}, err
		}
		p.allowed = allowed(p.floor)
		pairs = append(pairs, p)
	}
	return paired("", cliFloor, "", pairs), nil
}

const cliFloor = "C: `banger version --client`"

// fill writes the rows of stopped VMs while no daemon runs.
func fill(ctx context.Context, database string) error {
	rows, err := store.Open(ctx, database)
	if err != nil {
		return err
	}
	defer rows.Close()
	images, err := rows.Images(ctx)
	if err != nil {
		return err
	}
	kernels, err := rows.Kernels(ctx)
	if err != nil {
		return err
	}
	if len(images) == 0 || len(kernels) == 0 {
		return fmt.Errorf("cannot make rows: there is no image or no kernel for them")
	}
	for i := range listed {
		_, err := rows.CreateVM(ctx, model.VM{
			ID: model.NewVMID(), Name: fmt.Sprintf("listed-%04d", i), State: model.StateStopped, CreatedAt: time.Now(),
			Spec: model.Spec{
				Image: model.DefaultImage, Kernel: model.DefaultKernel, VCPUs: model.DefaultVCPUs,
				MemoryBytes: model.DefaultMemoryBytes, DiskBytes: model.DefaultDiskBytes, Network: "none",
			},
			Image: images[0].Digest, Kernel: kernels[0].Digest, VMM: "qemu", RootDisk: "qcow2", Network: "none",
		})
		if err != nil {
			return err
		}
	}
	return nil
}
