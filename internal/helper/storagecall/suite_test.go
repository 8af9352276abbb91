package storagecall_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"banger/internal/helper/serve"
	"banger/internal/helper/serve/servetest"
	"banger/internal/helper/storage"
	"banger/internal/helper/storagecall"
	"banger/internal/model"
	"banger/internal/rootdisk"
	"banger/internal/rootdisk/dmsnap"
	"banger/internal/rootdisk/dmsnap/dmsnaptest"
	"banger/internal/rootdisk/rootdisktest"
)

func devices(vms string) string { return filepath.Join(filepath.Dir(vms), "devices") }

// suite has the root disk's driver pass its suite with verbs that socket answers, for the devices of a VMs' directory.
func suite(t *testing.T, socket func(t *testing.T, dir string) string) {
	rootdisktest.Run(t, rootdisktest.Harness{
		New: func(t *testing.T, vms string) rootdisk.Driver {
			return dmsnap.New(dmsnap.Options{VMs: vms, Verbs: storagecall.New(socket(t, devices(vms)), instance), Log: slog.New(slog.DiscardHandler)})
		},
		Devices: func(_ *testing.T, vms string, id model.VMID) bool {
			return strings.Contains(dmsnaptest.New(devices(vms)).String(), string(id))
		},
		Data: func(vms string, id model.VMID) string { return filepath.Join(vms, string(id), dmsnap.File) },
	})
}

func TestTheDriverKnowsNoDifference(t *testing.T) {
	t.Parallel()
	suite(t, func(t *testing.T, dir string) string {
		return servetest.Here(t, service(func(serve.Caller) storagecall.Host { return dmsnaptest.New(dir) }))
	})
}

func TestTheDriverKnowsNoDifferenceToAProcess(t *testing.T) {
	t.Parallel()
	suite(t, func(t *testing.T, dir string) string {
		l, path := servetest.Listen(t)
		cmd := apart(t, l, dir)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return path
	})
}

// answers is a host that says what it was told to.
type answers struct {
	problem string
	err     error
	list    []storage.Snapshot
}

func (a answers) Problem() string { return a.problem }

func (a answers) Attach(context.Context, model.VMID, *os.File, *os.File) (storage.Snapshot, error) {
	return storage.Snapshot{}, a.err
}

func (a answers) Detach(context.Context, model.VMID) error { return a.err }

func (a answers) List(context.Context) ([]storage.Snapshot, error) { return a.list, a.err }

func client(t *testing.T, a answers) *storagecall.Client {
	t.Helper()
	return storagecall.New(servetest.Here(t, service(func(serve.Caller) storagecall.Host { return a })), instance)
}

func TestAnErrorKeepsItsKindItsSentenceAndItsRemedy(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{
		model.ErrNotFound, model.ErrExists, model.ErrInvalid, model.ErrState, model.ErrUnavailable, model.ErrDenied, model.ErrNoSpace,
		model.ErrCorrupt, model.ErrTimeout, model.ErrCanceled, model.ErrUnsupported,
	} {
		want := model.Fixable(kind, "mend it", "cannot do that")
		got := client(t, answers{err: want}).Detach(t.Context(), model.NewVMID())
		what, fix := model.Remedy(got)
		if !errors.Is(got, kind) || got.Error() != want.Error() || what != "cannot do that" || fix != "mend it" {
			t.Errorf("%v became %v (%q, %q)", want, got, what, fix)
		}
	}
	got := client(t, answers{err: errors.New(strings.Repeat("x", 1<<20))}).Detach(t.Context(), model.NewVMID())
	if got == nil || model.KindOf(got) != nil || len(got.Error()) > 8<<10 || !strings.HasPrefix(got.Error(), "xxx") {
		t.Errorf("a long one of no kind became %.100v", got)
	}
}

func TestAListHasNoLimit(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 128, 129, 256, 1000} {
		var want []storage.Snapshot
		for i := range n {
			id := model.VMID(strings.Repeat("a", 12) + string([]byte{byte('a' + i/17576%26), byte('a' + i/676%26), byte('a' + i/26%26), byte('a' + i%26)}))
			want = append(want, storage.Snapshot{ID: id, Name: strings.Repeat("n", 127), Node: strings.Repeat("/", 100)})
		}
		got, err := client(t, answers{list: want}).List(t.Context())
		if err != nil || len(got) != n {
			t.Fatalf("%d of %d, %v", len(got), n, err)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("the %dth is %+v, not %+v", i, got[i], want[i])
			}
		}
	}
}

func TestProblemsNameTheCommand(t *testing.T) {
	t.Parallel()
	if got := client(t, answers{problem: "there is no device-mapper"}).Problem(); got != "there is no device-mapper" {
		t.Errorf("the host's: %q", got)
	}
	if got := client(t, answers{}).Problem(); got != "" {
		t.Errorf("none: %q", got)
	}
	socket := servetest.Here(t, service(func(serve.Caller) storagecall.Host { return answers{} }))
	if got := storagecall.New(socket, "").Problem(); got != "" {
		t.Errorf("before there is an installation: %q", got)
	}
	absent := storagecall.New(filepath.Join(t.TempDir(), "absent"), instance)
	if got := absent.Problem(); !strings.Contains(got, "not installed; run: sudo banger system install") {
		t.Errorf("without a helper: %q", got)
	}
	base, cow := pair(t)
	if _, err := absent.Attach(t.Context(), model.NewVMID(), base, cow); !errors.Is(err, model.ErrUnsupported) {
		t.Errorf("attach without a helper: %v", err)
	}
	// Who took it away took the devices along.
	if err := absent.Detach(t.Context(), model.NewVMID()); err != nil {
		t.Errorf("detach without a helper: %v", err)
	}
	if all, err := absent.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("list without a helper: %v, %v", all, err)
	}
	l, deaf := servetest.Listen(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := storagecall.New(deaf, instance).Detach(t.Context(), model.NewVMID()); !errors.Is(err, model.ErrUnavailable) {
		t.Errorf("detach by a dead helper: %v", err)
	}
	if got := storagecall.New(deaf, instance).Problem(); !strings.Contains(got, "sudo banger system restart") {
		t.Errorf("of a dead helper: %q", got)
	}
}

// slow is a host whose Detach waits until its context ends.
type slow struct {
	answers
	began, ended chan struct{}
}

func (s slow) Detach(ctx context.Context, _ model.VMID) error {
	close(s.began)
	<-ctx.Done()
	close(s.ended)
	return ctx.Err()
}

func TestAVerbEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	s := slow{began: make(chan struct{}), ended: make(chan struct{})}
	c := storagecall.New(servetest.Here(t, service(func(serve.Caller) storagecall.Host { return s })), instance)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-s.began
		cancel()
	}()
	if err := c.Detach(ctx, model.NewVMID()); !errors.Is(err, model.ErrCanceled) {
		t.Errorf("got %v, want ErrCanceled", err)
	}
	<-s.ended
}

// TestTheSocketOutlivesTheHelper kills one with a call in it, as systemd would start the next.
func TestTheSocketOutlivesTheHelper(t *testing.T) {
	t.Parallel()
	l, path := servetest.Listen(t)
	dir := t.TempDir()
	cmd := apart(t, l, dir)
	c, id := storagecall.New(path, instance), model.NewVMID()
	base, cow := pair(t)
	made, err := c.Attach(t.Context(), id, base, cow)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	next := apart(t, l, dir)
	t.Cleanup(func() {
		_ = next.Process.Signal(syscall.SIGKILL)
		_ = next.Wait()
		_ = l.Close()
	})
	if all, err := c.List(t.Context()); err != nil || len(all) != 1 || all[0] != made {
		t.Errorf("the next one finds %+v, %v, not %+v", all, err, made)
	}
	if err := c.Detach(t.Context(), id); err != nil {
		t.Error(err)
	}
}
