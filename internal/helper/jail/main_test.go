package jail

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/testenv"
)

// actVariable is the environment variable that makes the test program start or remove a jail, or open its tap; its arguments follow.
const actVariable = "BANGER_TEST_JAIL"

// TestMain has the tests work in a network of their own, as far as they run at all.
func TestMain(m *testing.M) {
	if os.Getenv(actVariable) == actThread {
		os.Exit(spareFirstThread())
	}
	if what := os.Getenv(actVariable); what != "" {
		os.Exit(act(strings.Split(what, " ")))
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	os.Exit(testenv.OwnNetwork(m))
}

// act is given a verb, the installation, the VM, the directories of programs, jails and cgroups, the network, and three
// descriptors.
func act(args []string) int {
	h := New(Options{Instance: model.InstanceID(args[1]), UID: 12345, Programs: args[3], Dir: args[4], Cgroups: args[5], Controllers: []string{}, Udev: testenv.Udev{}})
	id := model.VMID(args[2])
	var err error
	switch args[0] {
	case "remove":
		err = h.Remove(context.Background(), id)
	case "tap":
		_, err = h.OpenTap(context.Background(), id)
	default:
		network, _ := strconv.Atoi(args[6])
		s := Spec{Slot: 1, VCPUs: 1, MemoryBytes: 256 * model.MiB, Drives: []Drive{{File: os.NewFile(5, "disk")}}, Network: Network(network)}
		_, err = h.Start(context.Background(), id, s, os.NewFile(3, "lock"), os.NewFile(4, "log"))
	}
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	return 0
}
