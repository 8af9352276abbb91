package image

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"banger/internal/model"
	"banger/internal/osrelease"
)

// debianKeyring holds the keys that sign Debian's archive. Every package is checked against it, whatever mirror it came
// from.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

func (r debian) checkKeyring() error {
	if _, err := os.Stat(r.tools.Keyring); err != nil {
		return model.Fixable(model.ErrUnsupported, "sudo apt-get install debian-archive-keyring", "cannot check Debian's signatures without its keys")
	}
	return nil
}

// mirrors are where Debian's packages come from: base URLs, each "" when the host does not tell.
type mirrors struct{ main, security string }

// sources are the sources of the image's suite in one-line format. Without mirrors of the host's there are none,
// and the bootstrap takes Debian's own.
func (r debian) sources(m mirrors) []string {
	if m.main == "" || m.security == "" {
		return nil
	}
	options := "deb [signed-by=" + r.tools.Keyring + "] "
	return []string{
		options + m.main + " " + debianSuite + " main",
		options + m.main + " " + debianSuite + "-updates main",
		options + m.security + " " + debianSuite + "-security main",
	}
}

// hostMirrors are those that a Debian host itself uses, of whatever release: close to it, and reachable.
func hostMirrors() mirrors {
	release := osrelease.Read()
	if release["ID"] != "debian" || release["VERSION_CODENAME"] == "" {
		return mirrors{}
	}
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	var all []source
	for _, path := range append([]string{"/etc/apt/sources.list"}, files...) {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		switch filepath.Ext(path) {
		case ".list":
			all = append(all, parseList(string(data))...)
		case ".sources":
			all = append(all, parseDeb822(string(data))...)
		}
	}
	return pickMirrors(all, release["VERSION_CODENAME"])
}

// usualMirrors are those that mmdebstrap takes when it is told of none. It writes them down before anything else, and is
// asked for nothing else.
func (r debian) usualMirrors(ctx context.Context, work scratch) (mirrors, error) {
	tool, err := r.findBootstrap()
	if err != nil {
		return mirrors{}, err
	}
	var listed strings.Builder
	c := child{
		path: tool, args: []string{
			"--mode=chrootless", "--variant=custom", "--format=null", "--skip=check/signed-by,update,cleanup", "--quiet", "--architectures=amd64",
			"--keyring=" + r.tools.Keyring, `--setup-hook=cat "$1"/etc/apt/sources.list >&2`, debianSuite, "-",
		},
		env: childEnv("TMPDIR=" + work.dir), work: work, line: func(text string) { listed.WriteString(text + "\n") },
	}
	if err := c.run(ctx); err != nil {
		return mirrors{}, err
	}
	m := pickMirrors(parseList(listed.String()), debianSuite)
	if r.sources(m) == nil {
		return m, model.Errorf(model.ErrUnsupported, "cannot tell where Debian's packages come from: mmdebstrap names %q", listed.String())
	}
	return m, nil
}

// source is one archive that apt knows.
type source struct {
	uri, suite string
	components []string
	signedBy   string
}

// pickMirrors finds Debian's archives among all sources. Others use the same suite names, but keys of their own; should
// one slip through, its packages fail the check of their signatures.
func pickMirrors(all []source, codename string) mirrors {
	var m mirrors
	for _, s := range all {
		debian := s.signedBy == "" || strings.HasPrefix(s.signedBy, "/usr/share/keyrings/debian-archive-")
		web := strings.HasPrefix(s.uri, "http://") || strings.HasPrefix(s.uri, "https://")
		if !debian || !web || !slices.Contains(s.components, "main") || strings.ContainsAny(s.uri, " []") {
			continue
		}
		switch uri := strings.TrimSuffix(s.uri, "/"); {
		case s.suite == codename && m.main == "":
			m.main = uri
		case s.suite == codename+"-security" && m.security == "":
			m.security = uri
		}
	}
	return m
}

// parseList reads sources.list(5)'s one-line format.
func parseList(text string) []source {
	var all []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		var s source
		rest = strings.TrimSpace(rest)
		if options, after, ok := strings.Cut(strings.TrimPrefix(rest, "["), "]"); ok && strings.HasPrefix(rest, "[") {
			rest = after
			for option := range strings.FieldsSeq(options) {
				if key, ok := strings.CutPrefix(option, "signed-by="); ok {
					s.signedBy = key
				}
			}
		}
		fields := strings.Fields(rest)
		if len(fields) < 3 {
			continue
		}
		s.uri, s.suite, s.components = fields[0], fields[1], fields[2:]
		all = append(all, s)
	}
	return all
}

// parseDeb822 reads the stanzas of sources.list(5)'s other format.
func parseDeb822(text string) []source {
	var all []source
	for stanza := range strings.SplitSeq(text, "\n\n") {
		fields, last := map[string]string{}, ""
		for line := range strings.Lines(stanza) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
				fields[last] += " " + strings.TrimSpace(line)
			} else if key, value, ok := strings.Cut(line, ":"); ok {
				last = strings.ToLower(key)
				fields[last] = strings.TrimSpace(value)
			}
		}
		if strings.EqualFold(fields["enabled"], "no") || !slices.Contains(strings.Fields(fields["types"]), "deb") {
			continue
		}
		for uri := range strings.FieldsSeq(fields["uris"]) {
			for suite := range strings.FieldsSeq(fields["suites"]) {
				all = append(all, source{uri, suite, strings.Fields(fields["components"]), fields["signed-by"]})
			}
		}
	}
	return all
}

// hostProxies are the apt options for the proxies that the host's apt is configured with. A host without apt has none.
func (r debian) hostProxies(ctx context.Context) []string {
	tool, err := r.tools.Find("apt-config", "apt")
	if err != nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, tool, "dump", "--format", "%F %v%n", "Acquire::http::Proxy", "Acquire::https::Proxy")
	cmd.Env = childEnv()
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	var options []string
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if value != "" && !strings.ContainsAny(name+value, "\"\\;{}") {
			options = append(options, name+` "`+value+`"`)
		}
	}
	return options
}
