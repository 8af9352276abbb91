package netcall_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"banger/internal/helper/hostnet"
	"banger/internal/helper/netcall"
	"banger/internal/helper/resolved"
	"banger/internal/helper/serve"
	"banger/internal/helper/serve/servetest"
	"banger/internal/model"
	"banger/internal/testenv"
)

const (
	apartVariable = "BANGER_TEST_APART" // makes the test program a helper
	busVariable   = "BANGER_TEST_BUS"   // on which that finds systemd-resolved, instead of the host's
)

func TestMain(m *testing.M) {
	if os.Getenv(apartVariable) != "" {
		os.Exit(servetest.Main(service(user)))
	}
	os.Exit(testenv.OwnNetwork(m))
}

const (
	instance = model.InstanceID("aaaaaaaa")
	someUser = 54321 // whose networks are made: who tests is root, in the namespace at least
)

// user is the namespace's kernel as an ordinary user's installation may use it.
func user(c serve.Caller) netcall.Host {
	return hostnet.New(hostnet.Options{Instance: c.Instance, UID: someUser, Resolved: resolved.Options{Bus: os.Getenv(busVariable)}})
}

// service is the helper's for the user who tests.
func service(hosts func(serve.Caller) netcall.Host) serve.Service {
	return serve.Service{Name: netcall.Service, Owner: os.Getuid(), Verbs: netcall.Verbs(hosts), Log: slog.New(slog.DiscardHandler)}
}

// apart serves in a process of its own, which more says more of.
func apart(t *testing.T, l *net.UnixListener, more ...string) *exec.Cmd {
	t.Helper()
	return servetest.Apart(t, l, append(more, apartVariable+"=1")...)
}

// kill ends a helper of apart's.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// needNetwork skips where the namespace has no taps on bridges.
func needNetwork(t *testing.T) {
	t.Helper()
	if problem := user(serve.Caller{Instance: instance}).Problem(); problem != "" {
		t.Skip("not run: " + problem)
	}
	if data, err := os.ReadFile("/proc/self/uid_map"); err != nil || !strings.Contains(string(data), " 4294967295") {
		t.Skip("not run: needs root, to make another user's networks")
	}
}

func policy(t *testing.T, text string) hostnet.Rules {
	t.Helper()
	p, err := model.ParsePolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	return hostnet.Rules{Policy: p}
}

// nothingLeft fails unless there is nothing of an installation's.
func nothingLeft(t *testing.T, c *netcall.Client) {
	t.Helper()
	found, err := c.List(context.Background()) // the test's own may have ended
	if err != nil || found.Bridge != "" || len(found.Ports)+len(found.Tables)+len(found.Spare)+len(found.Left) > 0 {
		t.Errorf("left: %+v, %v", found, err)
	}
}

// hostListing is what the namespace has of devices, settings and rules, but for what devices find out by themselves.
func hostListing(t *testing.T) string {
	t.Helper()
	nft := testenv.NeedTool(t, "nft")
	out, err := exec.Command("sh", "-c", "ip -o link | sed 's/<[^>]*>//; s/ state [A-Z]*//'; ip -4 -o addr; ip route | sed 's/ linkdown//'; grep . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv4/conf/*/accept_redirects; "+nft+" list ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}
