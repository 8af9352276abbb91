//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// What is expected of a probe in a phase.
const (
	mustNot = "must not arrive"
	must    = "must arrive"
	may     = "may arrive"
)

// expected is what the policy of a phase means for a probe. The phases:
//
//	public, again   the policy public; again is after a restart of netd
//	killed          likewise, while no daemon lives
//	beside          likewise, while another VM is started and stopped
//	stop            likewise, until the end of the guest that sends them
//	start           likewise, from its first program on
//	list            the policy 11.0.0.2,*.example, which leaves the rest of the internet out
//	none            the policy none
//	open            the policy open, which lets what is private be seen: so do the probes that must not arrive elsewhere
//	flip, restart   while the policy changes between public and none, and while netd is killed
//	b-…             the same on the bridge
func expected(phase, name string) string {
	phase = strings.TrimPrefix(phase, bridgePrefix)
	if phase == "open" {
		return expectedOpen(name)
	}
	public := slices.Contains([]string{"public", "again", "killed", "beside", "stop", "start"}, phase)
	open := public || phase == "list"
	unsure := phase == "flip" || phase == "restart"
	switch {
	case name == theGateway:
		return may // whatever the policy is: all that it tells is where the gateway is
	case strings.HasPrefix(name, "fragments") && !strings.Contains(name, " to "), name == "a huge frame":
		// A datagram in pieces, or in a frame with more behind it, is a datagram all the same; nothing depends on it.
		if open || unsure {
			return may
		}
	case strings.HasPrefix(name, "allowed"), strings.HasSuffix(name, "to the door 53"):
		if open {
			return must
		}
		if unsure {
			return may
		}
	case strings.HasPrefix(name, "second"):
		if public {
			return must
		}
		if unsure {
			return may
		}
	}
	return mustNot
}

func expectedOpen(name string) string {
	switch plain := strings.TrimPrefix(name, "tcp to "); plain {
	case "private network", "the private network", "metadata", "provider's network", "the provider's network", "private name", "metadata name",
		"host", "the host", "host's private address", "the host's private address", "host's name":
		return must
	case "Teredo to the private network", "VXLAN to the private network": // datagrams as any
		return must
	case "one hop to the host's private address", "a stray segment to the private network", "a begin with data to metadata",
		"a late end to the host's private address", theGateway:
		return may
	}
	switch {
	case strings.HasPrefix(name, "allowed"), strings.HasPrefix(name, "second"), strings.HasSuffix(name, "to the door 53"):
		return must
	case strings.HasSuffix(name, "another guest"), name == "loopback name", name == "other guest's name":
		return mustNot
	case strings.HasPrefix(name, "fragments"), strings.HasPrefix(name, "ping"), strings.HasSuffix(name, " name"), name == "a huge frame":
		return may
	}
	return mustNot
}

// fewest is how many probes there must have been for a verdict, however often and in however many phases.
const fewest = 100

// verdict reads what the probes and the recorders wrote, and says which probes were unexpected. A file named .probes has all
// that there are, those to doors aside.
func verdict(out io.Writer, files []string) error {
	var sent []string
	unexpected := 0
	all := len(frameProbes("", "")) + len(socketProbes("", ""))
	arrived := map[string]string{}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		before := len(sent)
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			word, rest, _ := strings.Cut(lines.Text(), " ")
			name, where, _ := strings.Cut(rest, " at ")
			switch word {
			case "sent":
				if !slices.Contains(sent, name) {
					sent = append(sent, name)
				}
			case "answered", "seen":
				if strings.HasSuffix(name, "/"+control) {
					continue
				}
				arrived[name] = strings.TrimSpace(word + " " + where)
			}
		}
		if err := lines.Err(); err != nil {
			return err
		}
		if n := len(sent) - before; strings.HasSuffix(file, ".probes") && n < all {
			fmt.Fprintf(out, "unexpected: %s has %d new probes, of %d\n", file, n, all)
			unexpected++
		}
	}
	for name, how := range arrived {
		if phase, probe, ok := strings.Cut(name, "/"); ok && !slices.Contains(sent, name) {
			fmt.Fprintf(out, "unexpected: %s in phase %s was never sent, and was %s\n", probe, phase, how)
			unexpected++
		}
	}
	phases, distinct := map[string]bool{}, map[string]bool{}
	for _, name := range sent {
		phase, probe, _ := strings.Cut(name, "/")
		phases[phase], distinct[probe] = true, true
		how, came := arrived[name]
		want := expected(phase, probe)
		if came && want == mustNot || !came && want == must {
			fmt.Fprintf(out, "unexpected: %s in phase %s %s: %s\n", probe, phase, want, how)
			unexpected++
		}
	}
	fmt.Fprintf(out, "%d probes, %d distinct ones in %d phases, %d unexpected\n", len(sent), len(distinct), len(phases), unexpected)
	if unexpected > 0 || len(distinct) < fewest {
		return fmt.Errorf("%d of %d probes were unexpected; there were %d distinct ones, of %d at least", unexpected, len(sent), len(distinct), fewest)
	}
	return nil
}
