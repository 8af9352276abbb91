package cli

import "github.com/spf13/cobra"

func newKernel(a *app) *cobra.Command {
	return group("kernel", "Keep the kernels that VMs boot", newKernelList(a), newKernelShow(a), newKernelDelete(a))
}
