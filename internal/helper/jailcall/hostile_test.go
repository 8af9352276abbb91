package jailcall_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/hostnet"
	"banger/internal/helper/jail"
	"banger/internal/helper/jailcall"
	"banger/internal/helper/serve"
	"banger/internal/helper/serve/servetest"
	"banger/internal/helper/storage"
	"banger/internal/helper/wire"
	"banger/internal/model"
)

const (
	instance = model.InstanceID("aaaaaaaa")
	someVM   = "aaaaaaaaaaaaaaaa"
)

// guarded is the real host without programs: its checks run, and what passes them, as what asks for an end, is an effect.
type guarded struct {
	*jail.Host
	effects *atomic.Int64
}

func (g guarded) Start(ctx context.Context, id model.VMID, s jail.Spec, lock, log *os.File) (jail.VM, error) {
	vm, err := g.Host.Start(ctx, id, s, lock, log)
	if err == nil || strings.Contains(err.Error(), "there is no ") { // a program, which is looked for after all the checks
		g.effects.Add(1)
	}
	return vm, err
}

func (g guarded) Kill(context.Context, model.VMID) error {
	g.effects.Add(1)
	return nil
}

func (g guarded) Remove(context.Context, model.VMID) error {
	g.effects.Add(1)
	return nil
}

// serveGuarded serves for the user who tests, until the test ends.
func serveGuarded(t *testing.T) (socket string, effects *atomic.Int64) {
	t.Helper()
	effects = new(atomic.Int64)
	none := t.TempDir()
	verbs := jailcall.Verbs(&serve.VMs{}, func(c serve.Caller) jailcall.Host {
		return guarded{jail.New(jail.Options{Instance: c.Instance, UID: c.UID, GID: c.GID, Programs: none, Dir: none, Cgroups: none}), effects}
	})
	return servetest.Here(t, serve.Service{Name: "storage", Owner: os.Getuid(), Verbs: verbs, Log: slog.New(slog.DiscardHandler)}), effects
}

func file(t *testing.T, size int64, flags int) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
	return open(t, path, flags)
}

func fifo(t *testing.T, flags int) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if flags != os.O_RDWR {
		open(t, path, os.O_RDWR) // the other end
	}
	return open(t, path, flags)
}

func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// fine is a request that nothing is wrong with.
func fine() *helperv1.StartJailRequest {
	return &helperv1.StartJailRequest{
		Vm: someVM, Slot: 1, Vcpus: 1, MemoryBytes: uint64(256 * model.MiB), Drives: []*helperv1.JailDrive{{ReadOnly: true}, {}},
	}
}

type hostileStart struct {
	request proto.Message
	files   []*os.File
}

// TestHostileStarts are refused before anything is done.
func TestHostileStarts(t *testing.T) {
	t.Parallel()
	socket, effects := serveGuarded(t)
	lock, log, base, work := file(t, 0, os.O_RDWR), fifo(t, os.O_RDWR), file(t, 1<<20, os.O_RDONLY), file(t, 1<<20, os.O_RDWR)
	good := []*os.File{lock, log, base, work}
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	dir, null := open(t, t.TempDir(), os.O_RDONLY), open(t, os.DevNull, os.O_RDWR)
	path := open(t, lock.Name(), unix.O_PATH)
	swap := func(n int, f *os.File) []*os.File {
		files := slices.Clone(good)
		files[n] = f
		return files
	}
	change := func(f func(r *helperv1.StartJailRequest)) *helperv1.StartJailRequest {
		r := fine()
		f(r)
		return r
	}
	calls := map[string]hostileStart{
		"no id":                {change(func(r *helperv1.StartJailRequest) { r.Vm = "" }), good},
		"a path for the id":    {change(func(r *helperv1.StartJailRequest) { r.Vm = "../../../etc/pas" }), good},
		"an option for the id": {change(func(r *helperv1.StartJailRequest) { r.Vm = "--exec-file=/bin" }), good},
		"a long id":            {change(func(r *helperv1.StartJailRequest) { r.Vm = strings.Repeat("a", 4000) }), good},
		"a network of no kind": {change(func(r *helperv1.StartJailRequest) { r.Network = 3 }), good},
		"a network below zero": {change(func(r *helperv1.StartJailRequest) { r.Network = -1 }), good},
		"a wire, for a slot that no bridge has": {change(func(r *helperv1.StartJailRequest) {
			r.Network, r.Slot = helperv1.JailNetwork_JAIL_NETWORK_WIRE, hostnet.MaxSlot+1
		}), good},
		"no slot":                {change(func(r *helperv1.StartJailRequest) { r.Slot = 0 }), good},
		"a slot above all":       {change(func(r *helperv1.StartJailRequest) { r.Slot = jail.MaxSlot + 1 }), good},
		"the last slot of all":   {change(func(r *helperv1.StartJailRequest) { r.Slot = 1<<32 - 1 }), good},
		"no vCPU":                {change(func(r *helperv1.StartJailRequest) { r.Vcpus = 0 }), good},
		"too many vCPUs":         {change(func(r *helperv1.StartJailRequest) { r.Vcpus = 1 << 31 }), good},
		"no memory":              {change(func(r *helperv1.StartJailRequest) { r.MemoryBytes = 0 }), good},
		"too much memory":        {change(func(r *helperv1.StartJailRequest) { r.MemoryBytes = 1 << 62 }), good},
		"memory below zero":      {change(func(r *helperv1.StartJailRequest) { r.MemoryBytes = 1<<64 - 1 }), good},
		"more drives than files": {change(func(r *helperv1.StartJailRequest) { r.Drives = append(r.Drives, &helperv1.JailDrive{}) }), good},
		"more files than drives": {change(func(r *helperv1.StartJailRequest) { r.Drives = r.Drives[:1] }), good},
		"a snapshot's file":      {change(func(r *helperv1.StartJailRequest) { r.Drives[0].Snapshot = true }), good},
		"two snapshots": {change(func(r *helperv1.StartJailRequest) {
			r.Drives = append(r.Drives, &helperv1.JailDrive{Snapshot: true}, &helperv1.JailDrive{Snapshot: true})
		}), good},
		"very many drives": {change(func(r *helperv1.StartJailRequest) {
			for range 5000 {
				r.Drives = append(r.Drives, &helperv1.JailDrive{Snapshot: true})
			}
		}), good},
		"no descriptors":             {fine(), nil},
		"one descriptor":             {fine(), good[:1]},
		"too many descriptors":       {fine(), slices.Concat(good, good, good[:2], good[:1])},
		"a FIFO for the lock":        {fine(), swap(0, log)},
		"a directory for the lock":   {fine(), swap(0, dir)},
		"a device for the lock":      {fine(), swap(0, null)},
		"a pipe for the lock":        {fine(), swap(0, ours)},
		"a lock open for reading":    {fine(), swap(0, base)},
		"a lock that is only a path": {fine(), swap(0, path)},
		"another user's lock":        {fine(), swap(0, open(t, "/proc/version", os.O_RDONLY))},
		"a file for the log":         {fine(), swap(1, lock)},
		"a device for the log":       {fine(), swap(1, null)},
		"a log open for reading":     {fine(), swap(1, fifo(t, os.O_RDONLY))},
		"a log open for writing":     {fine(), swap(1, fifo(t, os.O_WRONLY))},
		"a FIFO for a drive":         {fine(), swap(2, log)},
		"a device for a drive":       {fine(), swap(3, null)},
		"a directory for a drive":    {fine(), swap(2, dir)},
		"the drives exchanged":       {fine(), []*os.File{lock, log, work, base}},
		"a base to write to":         {fine(), swap(3, base)},
		"an empty drive":             {fine(), swap(3, lock)},
		"half a sector":              {fine(), swap(2, file(t, 700, os.O_RDONLY))},
		"another user's drive":       {fine(), swap(2, open(t, "/proc/version", os.O_RDONLY))},
	}
	strange := func(access int, places map[string]int) {
		for name, f := range servetest.Strange(t, access, 1<<20) {
			for place, n := range places {
				calls[name+" for "+place] = hostileStart{fine(), swap(n, f)}
			}
		}
	}
	strange(os.O_RDONLY, map[string]int{"a drive to read": 2})
	strange(os.O_RDWR, map[string]int{"the lock": 0, "the log": 1, "a drive to write to": 3})
	for name, c := range calls {
		err := wire.Client{Socket: socket, Instance: instance}.Call(t.Context(), c.request, &helperv1.StartJailResponse{}, c.files...)
		if err == nil {
			t.Errorf("%s: was done", name)
		} else if kind := model.KindOf(err); kind != model.ErrInvalid && kind != model.ErrDenied && kind != model.ErrUnsupported {
			t.Errorf("%s: %v", name, err)
		}
		if n := effects.Swap(0); n != 0 {
			t.Errorf("%s: %d effects, %v", name, n, err)
		}
	}
	t.Logf("%d hostile calls", len(calls))
	// And one that nothing is wrong with comes through all that.
	err = wire.Client{Socket: socket, Instance: instance}.Call(t.Context(), fine(), &helperv1.StartJailResponse{}, good...)
	if n := effects.Load(); n != 1 {
		t.Errorf("a good one: %d effects, %v", n, err)
	}
}

// TestHostileEnds are refused.
func TestHostileEnds(t *testing.T) {
	t.Parallel()
	socket, effects := serveGuarded(t)
	for _, id := range []string{"", ".", "..", "/", "../../dev/sda", "aaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaa", "AAAAAAAAAAAAAAAA", "aaaaaaaaaaaaaaa\x00", "aaaaaaaa-aaaaaaa", strings.Repeat("a", 50<<10)} {
		for _, m := range []proto.Message{&helperv1.KillJailRequest{Vm: id}, &helperv1.RemoveJailRequest{Vm: id}, &helperv1.OpenJailTapRequest{Vm: id}} {
			err := wire.Client{Socket: socket, Instance: instance}.Call(t.Context(), m, &helperv1.KillJailResponse{})
			if !errors.Is(err, model.ErrInvalid) || effects.Load() != 0 {
				t.Errorf("%.20q: %v, %d effects", id, err, effects.Load())
			}
		}
	}
	for _, other := range []model.InstanceID{"", "..", "aaaa/aaa", "AAAAAAAA"} {
		err := wire.Client{Socket: socket, Instance: other}.Call(t.Context(), &helperv1.KillJailRequest{Vm: someVM}, &helperv1.KillJailResponse{})
		if !errors.Is(err, model.ErrInvalid) || effects.Load() != 0 {
			t.Errorf("the installation %q: %v, %d effects", other, err, effects.Load())
		}
	}
}

func TestAMessageHasRoomForAllDrives(t *testing.T) {
	t.Parallel()
	if storage.MaxDrives+2 > wire.Files {
		t.Errorf("a message has no room for the descriptors of %d drives", storage.MaxDrives)
	}
}
