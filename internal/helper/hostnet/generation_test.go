package hostnet

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sync/errgroup"

	"banger/internal/model"
)

// TestRulesThatOthersChangeMeanwhile has another program make and remove chains again and again, so many that the kernel tells
// of them in pieces. What is read of an installation's rules is what there is of them, nothing twice.
func TestRulesThatOthersChangeMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	var other *nftables.Conn
	h.do(func() {
		var err error
		if other, err = nftables.New(nftables.AsLasting()); err != nil {
			t.Error(err)
		}
	})
	table := other.AddTable(&nftables.Table{Name: "others", Family: nftables.TableFamilyIPv4})
	const theirs = 600
	change := func(do func(*nftables.Chain), from, to int) error {
		for i := from; i < to; i++ {
			do(&nftables.Chain{Name: fmt.Sprint("c", i), Table: table})
		}
		return other.Flush()
	}
	add := func(c *nftables.Chain) { other.AddChain(c) }
	for i := 0; i < theirs; i += 50 { // what the kernel answers to one transaction has to fit into the socket
		if err := change(add, i, i+50); err != nil {
			t.Fatal(err)
		}
	}

	n := h.installation(t) // the kernel tells of it after them
	for slot := 1; slot <= 12; slot++ {
		h.set(t, n, model.NewVMID(), slot, "public,group:a")
	}
	want := len(n.tables(t, h).chains)
	ctx, end := context.WithCancel(t.Context())
	var changing errgroup.Group
	changing.Go(func() error {
		for ctx.Err() == nil {
			if err := errors.Join(change(other.DelChain, 0, 40), change(add, 0, 40)); err != nil {
				return err
			}
			time.Sleep(60 * time.Millisecond)
		}
		return nil
	})
	for range 400 {
		got := map[string]bool{}
		all := n.tables(t, h).chains
		for _, c := range all {
			got[fmt.Sprint(c.Table.Family, c.Name)] = true
		}
		if len(all) != want || len(got) != want || want == 0 {
			t.Errorf("%d chains, %d of them different, want %d", len(all), len(got), want)
			break
		}
	}
	end()
	if err := errors.Join(changing.Wait(), other.CloseLasting()); err != nil {
		t.Error(err)
	}
}

// tables reads an installation's anew.
func (n *Host) tables(t *testing.T, h host) (all tables) {
	t.Helper()
	h.do(func() {
		r, err := n.newRules()
		if err == nil {
			defer r.close()
			all, err = r.look()
		}
		if err != nil {
			t.Error(err)
		}
	})
	return all
}
