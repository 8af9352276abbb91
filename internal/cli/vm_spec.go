package cli

import (
	"slices"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"banger/client"
	"banger/internal/model"
)

// specFlags describe a new VM; run and create share them.
type specFlags struct {
	name  string
	image string
	pull  string

	platform string
	insecure bool

	kernel  string
	vmm     string
	root    string // --root-disk
	carrier string // --network-driver
	vcpus   countFlag
	memory  sizeFlag
	disk    sizeFlag
	env     []string
	workdir string
	user    string
	flags   *pflag.FlagSet
	network networkFlags
}

func addSpec(a *app, cmd *cobra.Command, f *specFlags) {
	fs := cmd.Flags()
	f.flags = fs
	fs.StringVar(&f.name, "name", "", "name of the VM, and of its host; random when not given")
	fs.StringVar(&f.image, "image", "", "image to start from, pulled when it is a reference and not here (default "+model.DefaultImage+", or the promoted one)")
	fs.StringVar(&f.pull, "pull", "", "`WHEN` to pull the image: missing (the default), always or never")
	addPlatform(cmd, &f.platform)
	addInsecure(cmd, &f.insecure)
	fs.StringVar(&f.kernel, "kernel", "", "kernel to boot (default "+model.DefaultKernel+")")
	fs.StringVar(&f.vmm, "vmm", "", "what runs it (default: the best this host has)")
	fs.StringVar(&f.root, "root-disk", "", "how its root disk is made (default: the configured way, or the best that goes with what runs it)")
	fs.StringVar(&f.carrier, "network-driver", "", "what carries its packets (default: the configured driver, or the best that goes with what runs it)")
	fs.Var(&f.vcpus, "vcpu", "virtual processors")
	fs.Var(&f.vcpus, "cpus", "the same as --vcpu")
	cmd.MarkFlagsMutuallyExclusive("vcpu", "cpus")
	fs.VarP(&f.memory, "memory", "m", "memory, such as 512M or 4GiB")
	fs.Var(&f.disk, "disk-size", "size of its own disk, mounted at the home directory")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "set an environment variable, `NAME=VALUE`; NAME alone copies ours")
	fs.StringVarP(&f.workdir, "workdir", "w", "", "directory that commands start in")
	fs.StringVarP(&f.user, "user", "u", "", "user that commands run as, `NAME` or UID[:GID]")
	addNetwork(cmd, &f.network)
	completeFlag(cmd, "image", a.completeImages)
	complete(cmd, "pull", pullPolicies()...)
	completeFlag(cmd, "kernel", a.completeKernels)
	completeFlag(cmd, "vmm", a.completeDrivers(func(s client.DaemonStatus) []string { return s.VMMs }))
	completeFlag(cmd, "network-driver", a.completeDrivers(func(s client.DaemonStatus) []string { return s.Networks }))
	completeFlag(cmd, "root-disk", a.completeDrivers(func(s client.DaemonStatus) []string { return s.RootDisks }))
}

// named says whether --name was given, if only as nothing.
func (f *specFlags) named() bool { return f.flags != nil && f.flags.Changed("name") }

// request checks what can be checked without a daemon. auto says that what the VM listens on appears on the host unless
// --ports says otherwise.
func (f *specFlags) request(a *app, auto bool) (client.CreateRequest, error) {
	if f.name != "" || f.named() {
		if err := model.ValidateName("VM", f.name); err != nil {
			return client.CreateRequest{}, err
		}
	}
	for _, text := range []string{f.image, f.kernel, f.vmm, f.root} {
		if !utf8.ValidString(text) {
			return client.CreateRequest{}, usagef("%q is not UTF-8: no image, kernel, VMM or root disk has that name", text)
		}
	}
	if f.pull != "" && !slices.Contains(pullPolicies(), f.pull) {
		return client.CreateRequest{}, usagef("--pull %s: always, missing and never are possible", f.pull)
	}
	env := a.environment(f.env)
	// The rules for a VM's context are a command's; any command will do to ask.
	if err := (model.ExecSpec{Argv: []string{"true"}, Env: env, Workdir: f.workdir, User: f.user}).Validate(); err != nil {
		return client.CreateRequest{}, err
	}
	r := client.CreateRequest{
		Name: f.name, Image: f.image, Pull: f.pull, Platform: f.platform, Insecure: f.insecure, Kernel: f.kernel, VMM: f.vmm,
		RootDisk: f.root, NetworkBy: f.carrier,
		VCPUs: int(f.vcpus), MemoryBytes: int64(f.memory), DiskBytes: int64(f.disk),
		Env: env, Workdir: f.workdir, User: f.user,
	}
	return r, f.network.apply(a, &r, auto)
}
