package hostnet

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// TestRulesThatOthersChangeMeanwhile has another program make and remove chains again and again, so many that the kernel tells
// of them in pieces; and ask for some that it does not get, which is no change. What is read of an installation's rules is
// what there is of them, nothing twice.
func TestRulesThatOthersChangeMeanwhile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meanwhile func(*stranger) error
		pause     time.Duration
	}{
		"changes": {(*stranger).again, 60 * time.Millisecond},
		"refused": {(*stranger).tooMuch, 5 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			o := newStranger(t, h)
			n := h.installation(t) // the kernel tells of it after them
			for slot := 1; slot <= 12; slot++ {
				h.set(t, n, model.NewVMID(), slot, "public,group:a")
			}
			want := len(n.tables(t, h).chains)
			ctx, end := context.WithCancel(t.Context())
			var changing errgroup.Group
			changing.Go(func() error {
				for ; ctx.Err() == nil; time.Sleep(c.pause) {
					if err := c.meanwhile(o); err != nil {
						return err
					}
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
			if err := errors.Join(changing.Wait(), o.CloseLasting()); err != nil {
				t.Error(err)
			}
		})
	}
}

// stranger is another program with rules.
type stranger struct {
	*nftables.Conn
	table *nftables.Table
}

// newStranger makes 600 chains.
func newStranger(t *testing.T, h host) *stranger {
	t.Helper()
	o := &stranger{}
	h.do(func() {
		var err error
		if o.Conn, err = nftables.New(nftables.AsLasting()); err != nil {
			t.Error(err)
		}
	})
	o.table = o.AddTable(&nftables.Table{Name: "others", Family: nftables.TableFamilyIPv4})
	for i := 0; i < 600; i += 50 { // what the kernel answers to one transaction has to fit into the socket
		if err := o.change(o.add, i, i+50); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// change does something with some of the chains.
func (o *stranger) change(do func(*nftables.Chain), from, to int) error {
	for i := from; i < to; i++ {
		do(&nftables.Chain{Name: fmt.Sprint("c", i), Table: o.table})
	}
	return o.Flush()
}

func (o *stranger) add(c *nftables.Chain) { o.AddChain(c) }

// again removes some and makes them anew.
func (o *stranger) again() error {
	return errors.Join(o.change(o.DelChain, 0, 40), o.change(o.add, 0, 40))
}

// tooMuch asks for more chains, and with them for what the kernel cannot do, so that it takes them back.
func (o *stranger) tooMuch() error {
	o.DelChain(&nftables.Chain{Name: "none", Table: o.table})
	if err := o.change(o.add, 600, 720); !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("got %w, want ENOENT", err)
	}
	return nil
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
