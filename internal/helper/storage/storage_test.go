package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/testenv"
)

const instance = model.InstanceID("aaaaaaaa")

func ours() *Host {
	return New(Options{Instance: instance, UID: os.Getuid(), GID: os.Getgid(), Udev: testenv.Udev{}})
}

func TestNamesAreOursOnlyWhole(t *testing.T) {
	t.Parallel()
	h, id := ours(), model.NewVMID()
	if got, ok := h.ownerOfName(h.name(id)); !ok || got != id {
		t.Errorf("%q is of %q, %t", h.name(id), got, ok)
	}
	for _, part := range []string{partBase, partCOW} {
		if got, p, ok := h.ownerOfLabel(h.label(id, part)); !ok || got != id || p != part {
			t.Errorf("%q is of %q, %q, %t", h.label(id, part), got, p, ok)
		}
	}
	other := New(Options{Instance: "bbbbbbbb"})
	for _, name := range []string{"", "banger", "banger-aaaaaaaa-", other.name(id), h.name(id) + "x", h.name("../../etc/passwd"), "x" + h.name(id)} {
		if got, ok := h.ownerOfName(name); ok {
			t.Errorf("%q is of %q", name, got)
		}
		if got, _, ok := h.ownerOfLabel(name + ".base"); ok {
			t.Errorf("%q is of %q", name+".base", got)
		}
	}
	if _, _, ok := h.ownerOfLabel(h.name(id) + ".other"); ok {
		t.Error("any part is ours")
	}
	longest := New(Options{Instance: instance, UID: math.MaxUint32})
	if n := len(longest.label(id, partBase)); n > 63 {
		t.Errorf("a label of %d bytes is cut", n)
	}
}

// TestAnotherUsersInstallationIsNotOurs has callers who name an installation that is not theirs.
func TestAnotherUsersInstallationIsNotOurs(t *testing.T) {
	t.Parallel()
	id := model.NewVMID()
	var hosts []*Host
	for _, uid := range []int{0, 1, 1000, 1001, 22222222} {
		for _, i := range []model.InstanceID{instance, "22222222"} {
			hosts = append(hosts, New(Options{Instance: i, UID: uid}))
		}
	}
	for a, h := range hosts {
		for b, other := range hosts {
			got, ours := h.ownerOfName(other.name(id))
			if a == b && (!ours || got != id) || a != b && (ours || h.uuid(id) == other.uuid(id) || h.node(id) == other.node(id)) {
				t.Errorf("%+v and %+v: %q is of %q, %t", h.o, other.o, other.name(id), got, ours)
			}
		}
	}
}

// TestUsersAreToldByTheMark has names of ordinary users' snapshots, and of others.
func TestUsersAreToldByTheMark(t *testing.T) {
	t.Parallel()
	id := model.NewVMID()
	h := New(Options{Instance: instance, UID: 1000})
	for _, name := range []string{h.name(id), h.label(id, partBase), h.label(id, partCOW), filepath.Base(h.dir()) + "-" + string(id)} {
		if o, ok := userOf(name); !ok || o != h.o {
			t.Errorf("%q is of %+v, %t", name, o, ok)
		}
	}
	for _, name := range []string{
		"", "banger", ours().name(id), New(Options{Instance: instance}).name(id), "banger-01000-aaaaaaaa-" + string(id), "banger--1-aaaaaaaa-" + string(id),
		"banger-1000-aaaaaaaa-x", "banger-1000-AAAAAAAA-" + string(id), "notes-1000-aaaaaaaa-" + string(id), "banger-4294967296-aaaaaaaa-" + string(id),
		h.name(id) + "-x",
	} {
		if os.Getuid() != 0 && name == ours().name(id) {
			continue // that is an ordinary user's
		}
		if o, ok := userOf(name); ok {
			t.Errorf("%q is of %+v", name, o)
		}
	}
}

// TestAllChangesFit counts what the kernel needs when every chunk is changed.
func TestAllChangesFit(t *testing.T) {
	t.Parallel()
	const chunk = 4096
	for _, size := range []int64{512, chunk, chunk + 512, model.MinDiskBytes, model.GiB, 10*model.GiB - 512, model.MaxDiskBytes} {
		chunks := (size + chunk - 1) / chunk
		areas := chunks/256 + 2 // the next one is made ready when one is full
		if need, have := (1+chunks+areas)*chunk, COWBytes(size); have < need || have%chunk != 0 || have > size+size/100+2<<20 {
			t.Errorf("of %d bytes: %d are needed, there are %d", size, need, have)
		}
	}
}

func TestListsOfTheDeviceMapper(t *testing.T) {
	t.Parallel()
	entry := func(dev uint64, next uint32, name string) []byte {
		b := binary.NativeEndian.AppendUint64(nil, dev)
		b = append(binary.NativeEndian.AppendUint32(b, next), name...)
		return append(b, make([]byte, 32-len(b))...)
	}
	for name, c := range map[string]struct {
		data []byte
		want []string
	}{
		"none":                {make([]byte, 64), nil},
		"empty":               {nil, nil},
		"two":                 {append(entry(0xfe00, 32, "one"), entry(0xfe01, 0, "two")...), []string{"one", "two"}},
		"beyond the end":      {entry(0xfe00, 4096, "one"), []string{"one"}},
		"back to itself":      {entry(0xfe00, 4, "one"), []string{"one"}},
		"cut within a name":   {entry(0xfe00, 0, "one")[:14], []string{"on"}},
		"cut within a number": {entry(0xfe00, 0, "one")[:7], nil},
	} {
		if got := namesIn(c.data); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// file makes a file of so many bytes and opens it.
func file(t *testing.T, size int64, flags int) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
	return open(t, path, flags)
}

func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestDescriptorsAreChecked(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	base, cow := file(t, size, os.O_RDONLY), file(t, COWBytes(size), os.O_RDWR)
	h := ours()
	if sectors, err := h.checkFiles(base, cow); err != nil || sectors != size/512 {
		t.Errorf("got %d, %v", sectors, err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		base, cow *os.File
		kind      error
	}{
		"a base open for writing":     {file(t, size, os.O_RDWR), cow, model.ErrInvalid},
		"a base that cannot be read":  {open(t, base.Name(), unix.O_PATH), cow, model.ErrInvalid},
		"a directory":                 {open(t, t.TempDir(), os.O_RDONLY), cow, model.ErrInvalid},
		"a device":                    {open(t, "/dev/null", os.O_RDONLY), cow, model.ErrInvalid},
		"a pipe":                      {open(t, fifo, os.O_RDONLY), cow, model.ErrInvalid},
		"an empty base":               {file(t, 0, os.O_RDONLY), cow, model.ErrInvalid},
		"a base of half a sector":     {file(t, 256, os.O_RDONLY), cow, model.ErrInvalid},
		"changes open for reading":    {base, file(t, COWBytes(size), os.O_RDONLY), model.ErrInvalid},
		"changes open for appending":  {base, file(t, COWBytes(size), os.O_RDWR|os.O_APPEND), model.ErrInvalid},
		"changes that could overflow": {base, file(t, COWBytes(size)-1, os.O_RDWR), model.ErrInvalid},
		"one file as both":            {open(t, cow.Name(), os.O_RDONLY), cow, model.ErrInvalid},
	} {
		if _, err := h.checkFiles(c.base, c.cow); !errors.Is(err, c.kind) {
			t.Errorf("%s: got %v, want %v", name, err, c.kind)
		}
	}
	foreign := New(Options{Instance: instance, UID: os.Getuid() + 1})
	if _, err := foreign.checkFiles(base, cow); !errors.Is(err, model.ErrDenied) {
		t.Errorf("of another user: got %v, want ErrDenied", err)
	}
}

// TestAFileThatCanBeKeptFromAnswering is one of an ordinary user's in an overlay, of which root may have as many as it likes.
func TestAFileThatCanBeKeptFromAnswering(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	dir := testenv.SmallDisk(t, 4<<20)
	at := filepath.Join(dir, "at")
	for _, name := range []string{"lower", "upper", "work", "at"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("banger-test", at, "overlay", 0, fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", dir)); err != nil {
		if errors.Is(err, unix.ENODEV) {
			t.Skip("not run: needs overlayfs in this kernel")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for uid, refused := range map[int]bool{0: false, 1000: true} {
		path := filepath.Join(at, fmt.Sprint(uid))
		if err := errors.Join(os.WriteFile(path, make([]byte, 512), 0o600), os.Chown(path, uid, uid)); err != nil {
			t.Fatal(err)
		}
		_, err := New(Options{Instance: instance, UID: uid}).checkFile(open(t, path, os.O_RDONLY), os.O_RDONLY)
		if refused != errors.Is(err, model.ErrInvalid) || !refused && err != nil {
			t.Errorf("uid %d: %v", uid, err)
		}
	}
}

func TestWhatIsNoIDIsRefused(t *testing.T) {
	t.Parallel()
	for _, id := range []model.VMID{"", "..", "../../../../dev/null", "AAAAAAAAAAAAAAAA"} {
		if _, err := ours().Attach(t.Context(), id, nil, nil); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("attach %q: got %v, want ErrInvalid", id, err)
		}
		if err := ours().Detach(t.Context(), id); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("detach %q: got %v, want ErrInvalid", id, err)
		}
	}
}
