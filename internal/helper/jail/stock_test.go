package jail

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"banger/internal/model"
)

// as runs a shell's line as a user.
func as(uid int, line string) error {
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	return cmd.Run()
}

// stockIsItsOwners fails unless the owner's directory is there, and nobody else's.
func (w *world) stockIsItsOwners() {
	w.t.Helper()
	info, err := os.Lstat(w.Stock())
	if err != nil {
		w.t.Error(err)
		return
	}
	stat := info.Sys().(*syscall.Stat_t)
	if info.Mode() != fs.ModeDir|0o700 || int(stat.Uid) != w.o.UID || int(stat.Gid) != w.o.GID {
		w.t.Errorf("%s is of %d:%d, with mode %v", w.Stock(), stat.Uid, stat.Gid, info.Mode())
	}
}

// TestTheOwnerLinksFromTheStock to what the VMM shares: it can read that, and neither change it nor get at anything else
// there. What is kept is no jail, and outlives the last one.
func TestTheOwnerLinksFromTheStock(t *testing.T) {
	t.Parallel()
	w, id := newWorld(t, 12345), model.NewVMID()
	vm, err := w.start(id, w.spec())
	if err != nil {
		t.Fatalf("%v; it says: %s", err, said(w))
	}
	w.stockIsItsOwners()
	kept := filepath.Join(w.Stock(), "kept")
	if err := as(w.o.UID, "echo -n what is kept here >"+kept+" && chmod 644 "+kept+" && ln "+kept+" "+filepath.Join(vm.Dir, "kernel")); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, vm, "read /vm/kernel"); !strings.HasPrefix(got, "what is kept") {
		t.Errorf("it reads %q", got)
	}
	if got := ask(t, vm, "write /vm/kernel"); !strings.Contains(got, "permission denied") {
		t.Errorf("it wrote to what is the owner's: %q", got)
	}
	for _, uid := range []int{vm.UID, w.o.UID + 1} {
		if as(uid, "cat "+kept) == nil || as(uid, "ls "+w.Stock()) == nil {
			t.Errorf("the user %d gets at what is kept", uid)
		}
	}
	second := model.NewVMID()
	s := w.spec()
	s.Slot = 2
	if _, err := w.start(second, s); err != nil { // it is there already
		t.Fatal(err)
	}
	w.stockIsItsOwners()
	if err := errors.Join(w.Remove(t.Context(), id), w.Remove(t.Context(), second), w.LeaveStock()); err != nil {
		t.Fatal(err)
	}
	if all, err := w.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("listed: %+v, %v", all, err)
	}
	if text, err := os.ReadFile(kept); err != nil || string(text) != "what is kept here" {
		t.Errorf("after the last jail: %q, %v", text, err)
	}
	if err := errors.Join(as(w.o.UID, "rm "+kept), w.LeaveStock()); err != nil {
		t.Error(err)
	}
	w.nothing()
}

// TestTheStocksOfUsersAreTakenAway with all that they hold, and nothing that this leads to; root's own stays.
func TestTheStocksOfUsersAreTakenAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 12345)
	if err := w.makeStock(); err != nil {
		t.Fatal(err)
	}
	w.stockIsItsOwners()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := as(w.o.UID, "cd "+w.Stock()+" && mkdir -p deep/er && touch deep/er/file && ln -s "+outside+" link && ln -s / root && chmod 0 deep"); err != nil {
		t.Fatal(err)
	}
	others := []string{"notes", "aaaaaaaa", "0-aaaaaaaa", "012-aaaaaaaa", "12-aaaaaaaa-aaaaaaaaaaaaaaaa"}
	for _, name := range others {
		if err := os.Mkdir(filepath.Join(w.stocks(), name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	users := Users{Dir: w.o.Dir, Cgroups: w.o.Cgroups}
	if err := users.removeStocks(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(w.Stock()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
	if _, err := os.Lstat(outside); err != nil {
		t.Errorf("what it led to is gone: %v", err)
	}
	for _, name := range others {
		if err := os.Remove(filepath.Join(w.stocks(), name)); err != nil {
			t.Errorf("%s was not left alone: %v", name, err)
		}
	}
	for range 2 {
		if err := users.removeStocks(); err != nil {
			t.Error(err)
		}
	}
	w.nothing()
}
