package system

import (
	"os/user"
	"strconv"

	"banger/internal/model"
)

// findOwner finds out for whom to install.
func findOwner(named string, getenv func(string) string) (uid int, err error) {
	text := named
	if text == "" {
		text = getenv("SUDO_UID")
	}
	if text == "" {
		return 0, model.Errorf(model.ErrInvalid, "cannot tell for whom to install banger's helper: name the user with --owner")
	}
	uid, err = strconv.Atoi(text)
	if err != nil {
		found, lerr := user.Lookup(text)
		if lerr != nil {
			return 0, model.Errorf(model.ErrNotFound, "cannot find the user %q; give the uid with --owner", text)
		}
		uid, err = strconv.Atoi(found.Uid)
	}
	const most = 1<<32 - 2 // the last one stands for none
	switch {
	case err != nil || uid < 0 || uid > most:
		return 0, model.Errorf(model.ErrInvalid, "cannot install banger's helper for %q: that is no user", text)
	case uid == 0:
		return 0, model.Errorf(model.ErrInvalid, "cannot install banger's helper for root, whose daemon needs none; name an ordinary user with --owner")
	}
	return uid, nil
}
