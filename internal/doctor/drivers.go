package doctor

import (
	"context"

	"banger/internal/model"
)

// HostChecker is the optional power of a driver to say whether this host has what it needs.
type HostChecker interface {
	CheckHost(ctx context.Context) []model.Check
}

// Drivers asks those of the drivers that are HostCheckers.
func Drivers(ctx context.Context, drivers ...any) []model.Check {
	var checks []model.Check
	for _, d := range drivers {
		if c, ok := d.(HostChecker); ok {
			checks = append(checks, c.CheckHost(ctx)...)
		}
	}
	return checks
}
