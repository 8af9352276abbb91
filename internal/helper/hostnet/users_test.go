package hostnet

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// TestNamesAreOneUsersAlone has the names of users, of root's installation and of all slots.
func TestNamesAreOneUsersAlone(t *testing.T) {
	t.Parallel()
	const instance = model.InstanceID("aaaaaaaa")
	seen := map[string]int{}
	for _, uid := range []int{0, 1, 2, 1000, 1001, 65534, 1 << 30, 1<<32 - 2} {
		h := New(Options{Instance: instance, UID: uid})
		for slot := range MaxSlot + spares + 1 {
			name := h.tap(slot)
			if slot == 0 {
				name = h.bridge()
			} else if left := h.left(slot); len(left) > 15 || seen[left] != 0 {
				t.Fatalf("%s is of the users %d and %d", left, seen[left], uid)
			} else if got, ok := h.leftOf(left); !ok || got != slot {
				t.Fatalf("%s of %d had the slot %d, %t, want %d", left, uid, got, ok, slot)
			} else if _, ok := h.leftOf(name); ok {
				t.Fatalf("%s is left", name)
			} else {
				seen[left] = uid
			}
			if other, there := seen[name]; there || len(name) > 15 {
				t.Fatalf("%s is of the users %d and %d", name, other, uid)
			}
			seen[name] = uid
			got, ok := h.slotOf(name)
			if slot > 0 && (!ok || got != slot) || slot == 0 && ok {
				t.Fatalf("%s of %d has the slot %d, %t, want %d", name, uid, got, ok, slot)
			}
			of, is := userOf(name, tapPrefix, slotLength)
			if slot == 0 {
				of, is = userOf(name, bridgePrefix, 0)
			}
			if is != (uid != 0) || is && of != uid {
				t.Fatalf("%s is of %d, %t, want %d", name, of, is, uid)
			}
		}
		if o, ok := userOfTable(h.table()); ok != (uid != 0) || ok && o != h.o {
			t.Errorf("the table %s is of %+v, %t", h.table(), o, ok)
		}
		if !isBridge(h.bridge()) || isBridge(h.tap(1)) {
			t.Errorf("%s and %s are taken for each other", h.bridge(), h.tap(1))
		}
	}
	for _, name := range []string{"bb_", "bb_aaaaaaaaaa", "bb_aaaapubaa", "bb_aaaapub1aa", "bb_aaaapubaaaa", "bb-aaaapubaaa", "bt_aaaapubaaa", "bb_zzzzzzzaaa", "bb_AAAAPUBAAA"} {
		if uid, ok := userOf(name, bridgePrefix, 0); ok {
			t.Errorf("%s is of the user %d", name, uid)
		}
	}
	for _, name := range []string{"banger-aaaaaaaa", "banger-0-aaaaaaaa", "banger-01000-aaaaaaaa", "banger-1000-aaaaaaa", "banger-1000-aaaaaaaa-x", "x-1000-aaaaaaaa", "banger-4294967296-aaaaaaaa"} {
		if o, ok := userOfTable(name); ok {
			t.Errorf("the table %s is of %+v", name, o)
		}
	}
}

// needUsers skips where there are no other users.
func needUsers(t *testing.T) {
	t.Helper()
	if data, err := os.ReadFile("/proc/self/uid_map"); err != nil || !strings.Contains(string(data), " 4294967295") {
		t.Skip("not run: needs root, to be other users")
	}
}

// TestAUsersNetworksGoWithTheHelper has those of two users, one with a tap in use and one half made, beside root's.
func TestAUsersNetworksGoWithTheHelper(t *testing.T) {
	t.Parallel()
	needUsers(t)
	h := newHost(t)
	root := h.installation(t)
	bare := h.listing(t)
	g := h.attach(t, root, 1, "public,group:a", someDoors...)
	before := h.listing(t)
	const uid = 54321
	user := New(Options{Instance: root.o.Instance, UID: uid})
	gone := model.NewVMID()
	h.set(t, user, gone, 1, "public")
	h.set(t, user, model.NewVMID(), 2, "group:a")
	h.call(t, user.Prepare)
	h.call(t, func(ctx context.Context) error { return user.Detach(ctx, gone) })
	mine := h.attach(t, user, 1, "public", someDoors...)
	h.set(t, New(Options{Instance: model.NewInstanceID(), UID: uid + 1}), model.NewVMID(), MaxSlot, "none")
	h.do(func() {
		half := New(Options{Instance: model.NewInstanceID(), UID: uid})
		links, err := handle(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		defer links.Close()
		if _, _, err := half.ensureBridge(links); err != nil {
			t.Error(err)
		}
		if err := KeepTap(half.tap(3), uid); err != nil {
			t.Error(err)
		}
	})
	for _, g := range []guest{g, mine} {
		if _, err := g.ask("tcp4", internet, port); err != nil {
			t.Error(err)
		}
	}
	h.do(func() {
		if n, err := (Users{}).InUse(t.Context()); n != 1 || err != nil {
			t.Errorf("%d are in use, %v", n, err)
		}
		seen, err := user.Visible(t.Context())
		if err != nil || len(seen.Ports) != 2 || len(seen.Spare) != spares-1 || len(seen.Left) != 1 || seen.Bridge != user.bridge() || len(seen.Tables) != 0 {
			t.Errorf("anybody sees %+v, %v", seen, err)
		}
		for range 2 {
			if err := (Users{}).Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if n, err := (Users{}).InUse(t.Context()); n != 0 || err != nil {
			t.Errorf("afterwards %d are in use, %v", n, err)
		}
	})
	if _, err := g.ask("tcp4", internet, port); err != nil {
		t.Errorf("root's: %v", err)
	}
	if said, err := mine.ask("tcp4", internet, port); err == nil {
		t.Errorf("a guest whose tap was taken away: %q", said)
	}
	// Its VMM is told of no error again and again, and takes what is left along.
	if during := h.listing(t); strings.Count(during, ": bx_") != 1 || strings.Contains(during, "bt_") || strings.Contains(during, "bb_") {
		t.Errorf("beside a VMM there is\n%s", during)
	}
	if conn, err := mine.tap.SyscallConn(); err != nil {
		t.Error(err)
	} else if err := conn.Control(func(fd uintptr) {
		wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(wait, 0); n != 0 || err != nil {
			t.Errorf("the VMM's poll gives %d, %v, %x", n, err, wait[0].Revents)
		}
	}); err != nil {
		t.Error(err)
	}
	mine.close()
	if after := h.listing(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	g.close()
	h.do(func() {
		if err := root.Sweep(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
	if after := h.listing(t); after != bare {
		t.Errorf("at first:\n%s\nin the end:\n%s", bare, after)
	}
}

// TestAlikeInstallationsAreToldApart has two of one user's whose devices would have the same names.
func TestAlikeInstallationsAreToldApart(t *testing.T) {
	t.Parallel()
	needUsers(t)
	const uid = 54321
	one := New(Options{Instance: model.NewInstanceID(), UID: uid})
	two := New(Options{Instance: model.NewInstanceID(), UID: uid})
	address := func(n *Host) string { return model.HardwareAddress(n.o.Instance, 0).String() }
	for two.mark() != one.mark() || address(two) == address(one) {
		two.o.Instance = model.NewInstanceID()
	}
	h := newHost(t)
	id := model.NewVMID()
	h.set(t, one, id, 1, "public")
	before := h.listing(t)
	h.do(func() {
		_, aerr := two.Attach(t.Context(), id, 1, Rules{})
		_, oerr := two.Open(t.Context(), id)
		_, lerr := two.List(t.Context())
		for what, err := range map[string]error{
			"attach": aerr, "open": oerr, "list": lerr, "detach": two.Detach(t.Context(), id), "sweep": two.Sweep(t.Context(), nil),
		} {
			if !errors.Is(err, model.ErrExists) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
	if after := h.listing(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	h.do(func() {
		if err := one.Sweep(t.Context(), nil); err != nil {
			t.Error(err)
		}
		if _, err := two.Attach(t.Context(), id, 1, Rules{}); err != nil {
			t.Error(err)
		}
		if err := two.Detach(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
}

// TestAPolicyIsWhatItSays has an entry whose words would be read as something else.
func TestAPolicyIsWhatItSays(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	h.do(func() {
		for _, entries := range [][]model.PolicyEntry{{{Group: "a,public"}}, {{Public: true}, {Public: true}}, nil, {{Group: "a", Port: 7}}} {
			want := Rules{Policy: model.Policy{Kind: model.KindList, Entries: entries}}
			if _, err := n.Attach(t.Context(), model.NewVMID(), 1, want); !errors.Is(err, model.ErrInvalid) {
				t.Errorf("%+v: %v", entries, err)
			}
		}
	})
}
