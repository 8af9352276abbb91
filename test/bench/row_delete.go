package main

import (
	"context"
	"time"
)

func benchDelete(ctx context.Context, s *session) (result, error) {
	m, err := s.newHome(ctx)
	if err != nil {
		return result{}, err
	}
	defer m.close()
	var pairs []pair
	for i := range s.pairs {
		if err := m.startVM(ctx, "doomed"); err != nil {
			return result{}, err
		}
		var p pair
		err := inTurn(i,
			func() (err error) { p.floor, err = m.timed(ctx, "version", "--client"); return },
			func() (err error) { p.product, err = m.timed(ctx, "vm", "delete", "doomed"); return })
		if err != nil {
			return result{}, err
		}
		p.allowed = p.floor + 30*time.Millisecond
		pairs = append(pairs, p)
	}
	return paired("`vm delete` of a running VM", cliFloor, "C + 30 ms", pairs), nil
}
