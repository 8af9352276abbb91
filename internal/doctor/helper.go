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

// Helper asks the service of the privileged helper that listens at socket who it is. That there is none is fine.
func Helper(ctx context.Context, socket string) model.Check {
	const name = "helper"
	if os.Geteuid() == 0 {
		return model.Check{Name: name, Status: model.CheckOK, Detail: "bangerd itself does what only root can"}
	}
	ctx, cancel := context.WithTimeout(ctx, helperLimit)
	defer cancel()
	hello, err := wire.Client{Socket: socket}.Hello(ctx)
	switch {
	case errors.Is(err, model.ErrUnsupported):
		return model.Check{Name: name, Status: model.CheckOK, Detail: fmt.Sprintf("%v (nothing needs it; docs/privileges.md says what it adds)", err)}
	case err != nil:
		return model.CheckOf(name, err, "").AtMost(model.CheckWarning)
	case hello.GetVersion() != version.Version:
		return model.Check{Name: name, Status: model.CheckWarning, Fix: wire.FixInstall,
			Detail: fmt.Sprintf("it is of version %s, and bangerd of version %s", hello.GetVersion(), version.Version)}
	}
	return model.Check{Name: name, Status: model.CheckOK, Detail: fmt.Sprintf("version %s does for you what only root can", hello.GetVersion())}
}
