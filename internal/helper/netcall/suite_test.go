package netcall_test

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"banger/internal/helper/hostnet"
	"banger/internal/helper/netcall"
	"banger/internal/helper/serve/servetest"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/network/bridge"
	"banger/internal/network/networktest"
)

// suite has the network driver pass its suite with verbs that a socket answers. A host is an installation.
func suite(t *testing.T, socket func(t *testing.T) string) {
	needNetwork(t)
	var mu sync.Mutex
	sockets := map[string]string{} // of each host one: changes of an installation take turns in one service
	client := func(t *testing.T, host string) *netcall.Client {
		mu.Lock()
		if sockets[host] == "" {
			sockets[host] = socket(t)
		}
		at := sockets[host]
		mu.Unlock()
		sum := sha256.Sum256([]byte(host))
		c := netcall.New(at, model.InstanceID(strings.ToLower(base32.StdEncoding.EncodeToString(sum[:5]))))
		t.Cleanup(func() {
			if err := c.Sweep(context.Background(), nil); err != nil { // the test's own context has ended
				t.Error(err)
			}
			nothingLeft(t, c)
		})
		return c
	}
	networktest.Run(t, networktest.Harness{
		New: func(t *testing.T, host string) network.Driver {
			d := bridge.New(bridge.Options{
				Verbs: client(t, host), Publisher: networktest.NewPublisher(host), Log: slog.New(slog.DiscardHandler),
			})
			t.Cleanup(func() {
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			})
			return d
		},
		Policy: "public", Ports: true,
		Has: func(t *testing.T, host string, id model.VMID) bool {
			found, err := client(t, host).List(t.Context())
			if err != nil {
				t.Error(err)
			}
			at := slices.IndexFunc(found.Ports, func(p hostnet.Port) bool { return p.ID == id })
			if at >= 0 && (found.Ports[at].Tap == "" || !found.Ports[at].Ruled) {
				t.Errorf("half a port: %+v", found.Ports[at])
			}
			return at >= 0
		},
	})
}

func TestTheDriverKnowsNoDifference(t *testing.T) {
	t.Parallel()
	suite(t, func(t *testing.T) string { return servetest.Here(t, service(user)) })
}

func TestTheDriverKnowsNoDifferenceToAProcess(t *testing.T) {
	t.Parallel()
	suite(t, func(t *testing.T) string {
		l, path := servetest.Listen(t)
		cmd := apart(t, l)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { kill(cmd) })
		return path
	})
}
