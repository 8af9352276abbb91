package linux

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"banger/internal/agent"
	"banger/internal/model"
)

// benchLine tells whoever times the boot that this program runs.
const benchLine = "banger.bench: init"

func benchCommand() ([]string, bool) {
	command, ok := parameter(benchParameter)
	return strings.Split(command, ","), ok
}

// bench runs the command that the kernel's command line names, on the console: the fastest that this kernel, these disks
// and this program can be, with no host to talk to. It returns nil once the command has ended; the machine is then switched
// off.
func bench(command []string) error {
	_, _ = fmt.Fprintln(os.Stdout, benchLine)
	loaded, err := loadModules()
	if err != nil {
		return err
	}
	config := agent.Config{Work: attached(model.SerialWork), Modules: attached(model.SerialModules)}
	if attached(model.SerialUpper) != "" {
		config.Join = model.JoinOverlay
	}
	if err := mountRoot(config.Join, config.Join.Serials()); err != nil {
		return err
	}
	if err := switchRoot(); err != nil {
		return err
	}
	if err := mountSystem(); err != nil {
		return err
	}
	if err := mountDisks(config); err != nil {
		return err
	}
	loaded() // no guest is ready without its network
	program, err := lookProgram(command[0], defaultPath, "/")
	if err != nil {
		return err
	}
	pid, err := forkExec(program, command, &syscall.ProcAttr{
		Dir: "/", Env: []string{"PATH=" + defaultPath, "HOME=/root"}, Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", program, err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return err
	}
	return fmt.Errorf("the bench's command ended with %d", status.ExitStatus())
}

// attached returns the serial when there is a drive with it, else "".
func attached(serial string) string {
	if _, ok := findDrive(serial); !ok {
		return ""
	}
	return serial
}
