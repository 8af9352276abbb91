package hostnet

import (
	"slices"

	"banger/internal/model"
)

// Where redirects lead: to a process without privileges, which has one for each of its ports and for names.
const (
	lowestDoor    = 1024
	mostRedirects = 2 * (model.MaxPorts + 1)
)

// checkRules refuses what no VM may be given. The words of a policy are checked again: who calls may be an ordinary user.
func checkRules(slot int, want Rules) error {
	if slot < 1 || slot > MaxSlot {
		return model.Errorf(model.ErrUnsupported, "its number is %d, and a bridge has addresses for %d", slot, MaxSlot)
	}
	again, err := model.ParsePolicy(want.Policy.String())
	if err != nil {
		return err
	}
	if again.Kind != want.Policy.Kind || !slices.Equal(again.Entries, want.Policy.Entries) {
		return model.Errorf(model.ErrInvalid, "its policy is not what it says: %s", again)
	}
	return checkRedirects(want.Redirects)
}

func checkRedirects(all []model.Redirect) error {
	if len(all) > mostRedirects {
		return model.Errorf(model.ErrInvalid, "%d of the gateway's ports lead elsewhere, and at most %d can", len(all), mostRedirects)
	}
	type from struct {
		udp  bool
		port uint16
	}
	seen := map[from]bool{}
	for _, r := range all {
		if r.Port == 0 || r.To < lowestDoor || seen[from{r.UDP, r.Port}] {
			return model.Errorf(model.ErrInvalid, "port %d of the gateway cannot lead to its port %d, or not twice", r.Port, r.To)
		}
		seen[from{r.UDP, r.Port}] = true
	}
	return nil
}
