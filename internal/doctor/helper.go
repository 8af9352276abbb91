package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"banger/internal/helper/wire"
	"banger/internal/model"
	"banger/internal/version"
)

// helperLimit is how long systemd may take to start a helper.
const helperLimit = 20 * time.Second

// Helper asks the services of the privileged helper, which listen at those sockets, who they are, until one is not as it
// should be. That there is none is fine.
func Helper(ctx context.Context, sockets ...string) model.Check {
	var check model.Check
	for _, socket := range sockets {
		var answers bool
		if check, answers = service(ctx, socket); !answers {
			break
		}
	}
	return check
}

func service(ctx context.Context, socket string) (c model.Check, answers bool) {
	const name = "helper"
	if os.Geteuid() == 0 {
		return model.Check{Name: name, Status: model.CheckOK, Detail: "bangerd itself does what only root can"}, true
	}
	ctx, cancel := context.WithTimeout(ctx, helperLimit)
	defer cancel()
	hello, err := wire.Client{Socket: socket}.Hello(ctx)
	switch {
	case errors.Is(err, model.ErrUnsupported):
		return model.Check{Name: name, Status: model.CheckOK, Detail: fmt.Sprintf("%v (nothing needs it; docs/privileges.md says what it adds)", err)}, false
	case err != nil:
		return model.CheckOf(name, err, "").AtMost(model.CheckWarning), false
	case hello.GetVersion() != version.Version:
		return model.Check{Name: name, Status: model.CheckWarning, Fix: wire.FixInstall,
			Detail: fmt.Sprintf("it is of version %s, and bangerd of version %s", hello.GetVersion(), version.Version)}, false
	}
	return model.Check{Name: name, Status: model.CheckOK, Detail: fmt.Sprintf("version %s does for you what only root can", hello.GetVersion())}, true
}
