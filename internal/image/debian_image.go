package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"banger/internal/crash"
	"banger/internal/image/ext4"
	"banger/internal/image/tarfilter"
	"banger/internal/model"
)

// debian is the recipe of the default image and the default kernel.
type debian struct{ tools Tools }

const (
	debianSuite = "bookworm"
	// debianEpoch is the latest time that a file of the image bears: the release of Debian 12. The same packages then
	// make the same image.
	debianEpoch = "SOURCE_DATE_EPOCH=1686355200"
	// rootBytes is the virtual size of a root disk. It is sparse, and can be made larger while it is mounted.
	rootBytes = 10 * model.GiB
)

// debianPackages are what the image has beyond Debian's essential packages and apt.
func debianPackages() []string {
	return []string{
		"systemd", "systemd-sysv", "udev", "dbus", // the init system, what it waits for, what talks to it
		"kmod", "iproute2", "iputils-ping", "netbase", // modules and network, by hand or by tools
		"ca-certificates", "curl", "less", "procps", // what everyone misses first
	}
}

// limits are far above a Debian image and far below what would hurt a host.
func imageLimits() tarfilter.Limits {
	return tarfilter.Limits{Bytes: 8 * model.GiB, Entries: 500_000, Path: 4096, Depth: 64}
}

// image bootstraps Debian to a tar stream, which goes through the filter into the ext4 writer without being unpacked by
// us.
func (r debian) image(ctx context.Context, dir string, work scratch, report model.Report) (fresh, error) {
	content, err := r.bootstrapDisk(ctx, filepath.Join(dir, rootFile), System{Packages: debianPackages(), Bytes: rootBytes}, work, report)
	if err != nil {
		return fresh{}, err
	}
	return fresh{content: content, Image: model.Image{
		Arch: "amd64", Platform: "linux/amd64", Source: "debian " + debianSuite + ", mmdebstrap",
		Init: model.InitSystemd, InitPath: "/usr/lib/systemd/systemd",
		Env:  []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		User: "root",
	}}, nil
}

// bootstrapDisk makes the root file system of s in file, and returns its digest.
func (r debian) bootstrapDisk(ctx context.Context, file string, s System, work scratch, report model.Report) (model.Digest, error) {
	c, err := r.bootstrap(ctx, s.Packages, work, report)
	if err != nil {
		return "", err
	}
	rules := debianRules()
	rules.Replace = append(rules.Replace, s.Files...)
	written, err := convert(ctx, file, c, rules, report)
	if err != nil {
		return "", err
	}
	crash.At("image.build.before-finish")
	report(model.Progress{Stage: "finish the file system"})
	return written.Finish(ctx, file, s.Bytes)
}

// convert runs c and makes an ext4 file of the tar that it writes. The three stages run at once and end together: the
// first failure closes the pipes of the others and ends the program.
func convert(ctx context.Context, file string, c child, rules tarfilter.Rules, report model.Report) (ext4.Written, error) {
	raw, toFilter := io.Pipe()
	clean, toWriter := io.Pipe()
	c.stdout = toFilter
	childDone, filterDone := make(chan error, 1), make(chan error, 1)
	childCtx, endChild := context.WithCancel(ctx)
	defer endChild()
	go func() {
		err := c.run(childCtx)
		toFilter.CloseWithError(err) // nil is the end of the stream
		childDone <- err
	}()
	go func() {
		_, err := tarfilter.Copy(toWriter, raw, imageLimits(), rules, byteProgress("write the image", report))
		if err != nil {
			raw.CloseWithError(err)
			endChild() // it need not notice that nobody reads
		}
		toWriter.CloseWithError(err)
		filterDone <- err
	}()
	written, err := ext4.Write(ctx, file, clean)
	clean.CloseWithError(err)
	filterErr, childErr := <-filterDone, <-childDone
	switch {
	case ctx.Err() != nil:
		return written, model.Errorf(model.ErrCanceled, "canceled: %w", context.Cause(ctx))
	case childErr != nil && (filterErr == nil || errors.Is(filterErr, childErr) || errors.Is(filterErr, io.ErrUnexpectedEOF)):
		return written, childErr // it broke its stream, and not the other way round
	case filterErr != nil && !errors.Is(filterErr, err):
		return written, filterErr
	}
	return written, err
}

// byteProgress reports every 16 MiB: watchers keep all that they are told.
func byteProgress(stage string, report model.Report) func(int64) {
	next := int64(0)
	return func(n int64) {
		if n < next {
			return
		}
		next = n + 16*model.MiB
		report(model.Progress{Stage: stage, Done: n})
	}
}

// debianRules are what the image changes of a plain bootstrap.
func debianRules() tarfilter.Rules {
	rules := tarfilter.Rules{
		Drop: func(name string) bool {
			switch dir := path.Dir(name) + "/"; {
			case name == "etc/apt/apt.conf.d/99mmdebstrap", // this host's proxies
				name == "var/cache/ldconfig/aux-cache": // inode numbers of the build
				return true
			case strings.HasPrefix(dir, "var/cache/apt/"), strings.HasPrefix(dir, "var/lib/apt/lists/"):
				return true
			}
			return false
		},
		Replace: []tarfilter.File{
			{Name: "etc/machine-id"}, // empty: every VM gets its own
			{Name: "etc/hostname", Content: "localhost\n"},
			{Name: "etc/resolv.conf"}, // the bootstrap copies those two from this host
			{Name: "var/cache/apt/archives/partial", Dir: true},
			{Name: "var/lib/apt/lists/partial", Dir: true},
			{Name: "usr/lib/modules", Dir: true}, // where the kernel's modules are mounted
		},
	}
	for _, m := range maskedUnits() {
		rules.Replace = append(rules.Replace, tarfilter.File{Name: "etc/systemd/system/" + m.unit, Link: "/dev/null"})
	}
	return rules
}

// masked is a systemd unit that a sandbox is better without.
type masked struct{ unit, why string }

func maskedUnits() []masked {
	return []masked{
		{"apt-daily.timer", "fetches package lists soon after the first boot, with all the CPU there is"},
		{"apt-daily-upgrade.timer", "upgrades packages unasked: a sandbox stays what its image was"},
		{"dpkg-db-backup.timer", "backs up the package database every day"},
		{"e2scrub_all.timer", "checks file systems on LVM, of which there are none"},
		{"e2scrub_reap.service", "the same, at every boot"},
		{"fstrim.timer", "reads every file system's free space once a week"},
		{"getty.target", "login prompts: there are no virtual terminals, and the console is a log; shells come through the agent"},
		{"systemd-firstboot.service", "asks questions on the console while the machine id is new"},
		{"systemd-networkd-wait-online.service", "holds up the boot of a VM that has no network for two minutes"},
	}
}

// bootstrapLink names, in a scratch directory, the directory elsewhere that the bootstrap works in.
const bootstrapLink = "bootstrap"

// bootstrap prepares mmdebstrap, which writes the tar to its standard output.
func (r debian) bootstrap(ctx context.Context, packages []string, work scratch, report model.Report) (child, error) {
	tool, err := r.findBootstrap()
	if err != nil {
		return child{}, err
	}
	temp := work.dir
	if r.tools.Owners != nil {
		if err := r.tools.Owners(); err != nil {
			return child{}, err
		}
		if temp, err = makeBootstrapDir(filepath.Join(work.dir, bootstrapLink)); err != nil {
			return child{}, err
		}
	}
	args := []string{
		// For root, too: its own mount namespace keeps what it mounts below its directory away from who removes that.
		"--mode=unshare",
		"--variant=minbase", "--format=tar", "--architectures=amd64", "--verbose",
		"--keyring=" + r.tools.Keyring, "--include=" + strings.Join(packages, ","),
	}
	for _, option := range r.hostProxies(ctx) {
		args = append(args, "--aptopt="+option)
	}
	args = append(append(args, debianSuite, "-"), r.sources(hostMirrors())...)
	return child{
		path: tool, args: args, env: childEnv(debianEpoch, "TMPDIR="+temp), work: work,
		line: (&bootstrapProgress{report: report}).line,
	}, nil
}

// findBootstrap returns the program that bootstraps, when the host has all that it needs but a user's subordinate ids.
func (r debian) findBootstrap() (string, error) {
	tool, err := r.tools.Find("mmdebstrap", "mmdebstrap")
	if err != nil {
		return "", err
	}
	return tool, r.checkKeyring()
}

// bootstrapProgress turns what mmdebstrap says into stages: a heading line begins one, and of the programs below it each
// line that names a package is a step. apt announces how many there will be.
type bootstrapProgress struct {
	report model.Report
	now    model.Progress
}

func (b *bootstrapProgress) line(text string) {
	var n int64
	if heading, ok := strings.CutPrefix(text, "I: "); ok {
		for _, s := range []struct{ begins, stage string }{
			{"running apt-get update", "fetch the package lists"},
			{"downloading packages", "download the base system"},
			{"extracting archives", "unpack the base system"},
			{"installing essential", "install the base system"},
			{"installing remaining", "install the packages"},
			{"creating tarball", "write the image"},
		} {
			if strings.HasPrefix(heading, s.begins) {
				b.now = model.Progress{Stage: s.stage}
				b.report(b.now)
			}
		}
		return
	}
	if _, err := fmt.Sscanf(text, "0 upgraded, %d newly installed", &n); err == nil {
		b.now.Total = n
		if b.now.Stage == "install the packages" {
			b.now.Total = 3 * n // fetched, unpacked, set up
		}
		return
	}
	for _, step := range []string{"Get:", "Unpacking ", "Setting up "} {
		if strings.HasPrefix(text, step) && (b.now.Total == 0 || b.now.Done < b.now.Total) {
			b.now.Done++
			b.report(b.now)
		}
	}
}
