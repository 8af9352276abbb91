package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"banger/internal/model"
)

// kernelMetapackage always names Debian's newest cloud kernel.
const kernelMetapackage = "linux-image-cloud-amd64"

// apt is an apt root of our own: it needs no privileges, no earlier update and nothing of the host's state.
type apt struct {
	tools Tools
	root  string
	work  scratch
}

// fetchKernel downloads the kernel's package, checked by apt against Debian's signatures, and returns its path and its
// name with the version.
func (r debian) fetchKernel(ctx context.Context, work scratch, report model.Report) (file, version string, err error) {
	if err := r.checkFetch(); err != nil {
		return "", "", err
	}
	a, err := r.newApt(ctx, work)
	if err != nil {
		return "", "", err
	}
	report(model.Progress{Stage: "fetch the package lists"})
	if _, err := a.run(ctx, "apt-get", "update"); err != nil {
		return "", "", err
	}
	shown, err := a.run(ctx, "apt-cache", "show", "--no-all-versions", kernelMetapackage)
	if err != nil {
		return "", "", err
	}
	name := realKernel(shown)
	if name == "" {
		return "", "", fmt.Errorf("the package %s names no kernel", kernelMetapackage)
	}
	report(model.Progress{Stage: "download the kernel"})
	if _, err := a.run(ctx, "apt-get", "download", name); err != nil {
		return "", "", err
	}
	found, err := filepath.Glob(filepath.Join(work.dir, name+"_*.deb"))
	if err != nil || len(found) != 1 {
		return "", "", fmt.Errorf("apt-get download left %d files of %s instead of one", len(found), name)
	}
	parts := strings.Split(filepath.Base(found[0]), "_")
	return found[0], parts[0] + " " + strings.ReplaceAll(parts[1], "%3a", ":"), nil
}

// checkFetch says whether the host has what fetchKernel needs.
func (r debian) checkFetch() error {
	for _, tool := range []string{"apt-get", "apt-cache"} {
		if _, err := r.tools.Find(tool, "apt"); err != nil {
			return err
		}
	}
	if r.sources(hostMirrors()) == nil { // apt knows no mirror of Debian's then, and mmdebstrap does
		_, err := r.findBootstrap()
		return err
	}
	return r.checkKeyring()
}

// realKernel finds the kernel that the metapackage's record depends on.
func realKernel(record string) string {
	depends := regexp.MustCompile(`(?m)^Depends:.*\b(linux-image-[0-9][a-z0-9.+-]*-cloud-amd64)\b`)
	if m := depends.FindStringSubmatch(record); m != nil {
		return m[1]
	}
	return ""
}

// newApt lays out the root and its configuration. The host's configuration is not read: its hooks are for the host.
func (r debian) newApt(ctx context.Context, work scratch) (apt, error) {
	a := apt{tools: r.tools, root: filepath.Join(work.dir, "apt"), work: work}
	if strings.ContainsAny(a.root, "\"\n") {
		return a, model.Errorf(model.ErrInvalid, "cannot let apt work in %q: its configuration has no way to write that name; set XDG_CACHE_HOME to another directory", a.root)
	}
	for _, dir := range []string{"lists/partial", "cache/archives/partial", "etc"} {
		if err := os.MkdirAll(filepath.Join(a.root, dir), 0o700); err != nil {
			return a, err
		}
	}
	sources := r.sources(hostMirrors())
	if sources == nil {
		m, err := r.usualMirrors(ctx, work)
		if err != nil {
			return a, err
		}
		sources = r.sources(m)
	}
	config := `#clear Acquire::IndexTargets::deb::Contents-deb;
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::sourcelist "` + a.path("sources.list") + `";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "/dev/null";
Dir::State "` + a.root + `";
Dir::State::lists "` + a.path("lists") + `";
Dir::State::status "` + a.path("status") + `";
Dir::Cache "` + a.path("cache") + `";
Dir::Log "/dev/null";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "2";
`
	for _, option := range r.hostProxies(ctx) {
		config += option + ";\n"
	}
	for name, content := range map[string]string{
		"apt.conf": config, "sources.list": strings.Join(sources, "\n") + "\n", "status": "",
	} {
		if err := os.WriteFile(a.path(name), []byte(content), 0o600); err != nil {
			return a, err
		}
	}
	return a, nil
}

func (a apt) path(name string) string { return filepath.Join(a.root, name) }

func (a apt) run(ctx context.Context, name string, args ...string) (string, error) {
	tool, err := a.tools.Find(name, "apt")
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	c := child{
		path: tool, args: append([]string{"--quiet", "--quiet"}, args...),
		env: childEnv("APT_CONFIG=" + a.path("apt.conf")), work: a.work, stdout: &out,
	}
	err = c.run(ctx)
	return out.String(), err
}
