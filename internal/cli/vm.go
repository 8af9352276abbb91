package cli

import "github.com/spf13/cobra"

func newVM(a *app) *cobra.Command {
	return group("vm", "Make, use and remove virtual machines",
		newVMRun(a), newVMCreate(a), newVMStart(a), newVMStop(a), newVMRestart(a), newVMKill(a), newVMDelete(a),
		newVMExec(a), newVMShell(a), newCP(a), newVMList(a), newPS(a), newVMShow(a), newVMLogs(a),
		newVMSet(a), newVMPort(a), newPorts(a, "ports"), newVMNetwork(a), newVMWorkspace(a),
	)
}
