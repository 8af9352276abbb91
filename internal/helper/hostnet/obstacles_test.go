package hostnet

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"

	"banger/internal/model"
	"banger/internal/testenv"
)

func TestObstacles(t *testing.T) {
	t.Parallel()
	nft := testenv.NeedTool(t, "nft")
	const hook = "add table ip t; add chain ip t c { type filter hook forward priority filter; policy accept; };"
	for _, c := range []struct {
		name, rules string
		want        []string // "NAME of TABLE"
	}{
		{"the policy", `
			add table ip filter
			add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }
			add chain ip filter INPUT { type filter hook input priority 0; policy accept; }
			add chain ip filter OUTPUT { type filter hook output priority 0; policy drop; }
			add table inet firewall
			add chain inet firewall input { type filter hook input priority 10; policy drop; }
		`, []string{"FORWARD of ip filter", "input of inet firewall"}},
		{"the last rule, as firewalld has it", `
			add table inet firewalld
			add chain inet firewalld filter_FWD_public
			add chain inet firewalld filter_FORWARD_ZONES
			add rule inet firewalld filter_FORWARD_ZONES iifname "eth0" goto filter_FWD_public
			add chain inet firewalld filter_INPUT { type filter hook input priority 10; policy accept; }
			add rule inet firewalld filter_INPUT ct state { established, related } accept
			add rule inet firewalld filter_INPUT ct state invalid drop
			add rule inet firewalld filter_INPUT reject with icmpx type admin-prohibited
			add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; policy accept; }
			add rule inet firewalld filter_FORWARD ct state { established, related } accept
			add rule inet firewalld filter_FORWARD iifname "lo" accept
			add rule inet firewalld filter_FORWARD jump filter_FORWARD_ZONES
			add rule inet firewalld filter_FORWARD reject with icmpx type admin-prohibited
			add chain inet firewalld filter_OUTPUT { type filter hook output priority 10; policy accept; }
			add rule inet firewalld filter_OUTPUT reject
		`, []string{"filter_FORWARD of inet firewalld", "filter_INPUT of inet firewalld"}},
		{"a drop after conditions", hook + `
			add rule ip t c ip daddr 10.0.0.0/8 accept
			add rule ip t c tcp dport 22 drop
			add rule ip t c counter log prefix "no " drop comment "the rest"
		`, []string{"c of ip t"}},
		{"drops with conditions", hook + `
			add set ip t s { type ipv4_addr; }
			add counter ip t n
			add rule ip t c ip daddr 10.0.0.0/8 drop
			add rule ip t c meta l4proto tcp reject with tcp reset
			add rule ip t c ip saddr @s drop
			add rule ip t c limit rate 10/second drop
			add rule ip t c fib daddr type local drop
			add rule ip t c ct state vmap { invalid : drop }
			add rule ip t c counter name n
		`, nil},
		{"an accept before the policy", `
			add table ip t; add chain ip t c { type filter hook forward priority filter; policy drop; }
			add rule ip t c counter accept
			add rule ip t c drop
		`, nil},
		{"a drop in a chain that all packets come to", hook + `
			add chain ip t back
			add rule ip t back tcp dport 22 accept
			add rule ip t back return
			add rule ip t back drop
			add chain ip t last
			add rule ip t last drop
			add rule ip t c jump back
			add rule ip t c goto last
		`, []string{"c of ip t"}},
		{"a drop after a chain that all packets leave for", hook + `
			add chain ip t last
			add rule ip t c goto last
			add rule ip t c drop
		`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			n := h.installation(t)
			h.set(t, n, model.NewVMID(), 1, "public")
			if found := h.obstacles(t, n); len(found) != 0 {
				t.Errorf("with our rules alone: %q", found)
			}
			h.run(t, c.rules, nft, "-f", "-")
			found := h.obstacles(t, n)
			var got []string
			for _, o := range found {
				got = append(got, strings.ReplaceAll(strings.TrimPrefix(o.Chain, "the chain "), "of the nftables table", "of"))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			for _, o := range found { // what is advised can be done, where its program is
				if strings.HasPrefix(o.Fix, "sudo nft ") {
					h.run(t, "", "sh", "-c", strings.ReplaceAll(o.Fix, "sudo nft", nft))
				}
			}
		})
	}
}

// TestObstaclesOfIptables has rules as iptables makes them in nftables.
func TestObstaclesOfIptables(t *testing.T) {
	t.Parallel()
	iptables := testenv.NeedTool(t, "iptables-nft")
	h := newHost(t)
	n := h.installation(t)
	h.run(t, "", iptables, "-A", "FORWARD", "-s", "10.0.0.0/8", "-j", "REJECT")
	if found := h.obstacles(t, n); len(found) != 0 {
		t.Errorf("with a condition: %q", found)
	}
	h.run(t, "", iptables, "-A", "FORWARD", "-m", "comment", "--comment", "the rest", "-j", "REJECT")
	if found := h.obstacles(t, n); len(found) != 1 || !strings.Contains(found[0].Chain, "FORWARD") {
		t.Errorf("got %q", found)
	}
}

func TestUnconditional(t *testing.T) {
	t.Parallel()
	drop, counter := &expr.Verdict{Kind: expr.VerdictDrop}, &expr.Counter{}
	comment, reject, info := xt.Comment("the rest"), &expr.Target{Name: "REJECT"}, &xt.Unknown{}
	for _, c := range []struct {
		name  string
		exprs []expr.Any
		want  expr.Any
	}{
		{"nothing", nil, nil},
		{"iptables -j DROP", []expr.Any{counter, drop}, drop},
		{"iptables -j REJECT", []expr.Any{counter, reject}, reject},
		{"with -m comment", []expr.Any{&expr.Match{Name: "comment", Info: &comment}, counter, reject}, reject},
		{"with -m addrtype", []expr.Any{&expr.Match{Name: "addrtype", Info: info}, counter, reject}, nil},
		{"with -i", []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Register: 1}, counter, drop}, nil},
		{"iptables -j LOG", []expr.Any{counter, &expr.Target{Name: "LOG"}}, nil},
		{"a quota that has a name", []expr.Any{&expr.Objref{Type: 2, Name: "q"}, drop}, nil},
	} {
		if got := unconditional(c.exprs); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

// TestFixes has the command of the program whose chain it is.
func TestFixes(t *testing.T) {
	t.Parallel()
	h := New(Options{Instance: "k3xw5r2q"})
	ip, inet, frames := nftables.TableFamilyIPv4, nftables.TableFamilyINet, nftables.TableFamilyBridge
	forward, input := nftables.ChainHookForward, nftables.ChainHookInput
	for _, c := range []struct {
		family      nftables.TableFamily
		table, name string
		hook        *nftables.ChainHook
		beside      string
		want        string
	}{
		{
			inet, "firewalld", "filter_FORWARD", forward, "",
			"sudo firewall-cmd --zone=trusted --add-interface=bb-k3xw5r2q && sudo firewall-cmd --zone=trusted --add-interface=bb-k3xw5r2q --permanent",
		},
		{ip, "filter", "FORWARD", forward, "ufw-before-forward", "sudo ufw route allow in on bb-k3xw5r2q"},
		{ip, "filter", "INPUT", input, "ufw-before-input", "sudo ufw allow in on bb-k3xw5r2q"},
		{
			ip, "filter", "FORWARD", forward, "DOCKER-USER",
			"sudo iptables -I DOCKER-USER -i bb-k3xw5r2q -j ACCEPT && sudo iptables -I DOCKER-USER -o bb-k3xw5r2q -j ACCEPT",
		},
		{ip, "filter", "INPUT", input, "DOCKER-USER", "sudo iptables -I INPUT -i bb-k3xw5r2q -j ACCEPT"},
		{inet, "filter", "input", input, "", "sudo nft insert rule inet filter input iifname bb-k3xw5r2q accept"},
		{
			frames, "filter", "forward", forward, "",
			"sudo nft insert rule bridge filter forward meta ibrname bb-k3xw5r2q accept && sudo nft insert rule bridge filter forward meta obrname bb-k3xw5r2q accept",
		},
	} {
		at := &nftables.Table{Family: c.family, Name: c.table}
		all := []*nftables.Chain{{Table: at, Name: c.beside}}
		if got := h.fix(all, &nftables.Chain{Table: at, Name: c.name, Hooknum: c.hook}); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	if got := New(Options{}).fix(nil, nil); got != "" {
		t.Errorf("while the bridge has no name: %q", got)
	}
}

func (h host) obstacles(t *testing.T, n *Host) (found []Obstacle) {
	t.Helper()
	h.do(func() {
		var err error
		if found, err = n.Obstacles(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return found
}

// run runs a program in the host's namespace.
func (h host) run(t *testing.T, input, program string, args ...string) {
	t.Helper()
	h.do(func() {
		cmd := exec.Command(program, args...)
		cmd.Stdin = strings.NewReader(input)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s %q: %v: %s", program, args, err, out)
		}
	})
}
