package egress

import (
	"net/netip"

	"banger/internal/model"
)

func find(list []model.Range, addr netip.Addr) (string, bool) {
	for _, r := range list {
		if r.Prefix.Contains(addr) {
			return r.Prefix.String() + " is " + r.Why, true
		}
	}
	return "", false
}
