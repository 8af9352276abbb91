package storagecall_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/serve"
	"banger/internal/helper/serve/servetest"
	"banger/internal/helper/storage"
	"banger/internal/helper/storagecall"
	"banger/internal/helper/wire"
	"banger/internal/model"
)

// guarded is the real host, of which nothing may come to be used: its checks of descriptors run, and what passes them, as
// what asks for a Detach, is an effect.
type guarded struct {
	*storage.Host
	effects *atomic.Int64
}

func (g guarded) Attach(ctx context.Context, id model.VMID, base, cow *os.File) (storage.Snapshot, error) {
	s, err := g.Host.Attach(ctx, id, base, cow)
	if !errors.Is(err, model.ErrInvalid) && !errors.Is(err, model.ErrDenied) {
		g.effects.Add(1)
	}
	return s, err
}

func (g guarded) Detach(context.Context, model.VMID) error {
	g.effects.Add(1)
	return nil
}

const someVM = "aaaaaaaaaaaaaaaa"

func detach(t *testing.T, change func(*helperv1.Call)) []byte {
	t.Helper()
	c := &helperv1.Call{
		Instance: string(instance), Verb: serve.Name(&helperv1.DetachRequest{}), Request: servetest.Encode(t, &helperv1.DetachRequest{Vm: someVM}),
	}
	change(c)
	return servetest.Encode(t, c)
}

func attach(t *testing.T, descriptors uint32) []byte {
	t.Helper()
	return servetest.Encode(t, &helperv1.Call{
		Instance: string(instance), Verb: serve.Name(&helperv1.AttachRequest{}), Request: servetest.Encode(t, &helperv1.AttachRequest{Vm: someVM}),
		Descriptors: descriptors,
	})
}

// malformed are messages that are torn, huge or not known.
func malformed(t *testing.T) []servetest.Call {
	whole := detach(t, func(*helperv1.Call) {})
	if m := padded(whole, wire.Most); len(m) != wire.Most || wire.Decode(m, &helperv1.Call{}) != nil {
		t.Errorf("a message padded to %d bytes has %d, or is none", wire.Most, len(m))
	}
	nothing := func(*helperv1.Call) {}
	calls := []servetest.Call{
		servetest.Hostile("a byte", []byte{0xff}, nil, model.ErrInvalid),
		servetest.Hostile("zeros", make([]byte, 512), nil, model.ErrInvalid),
		servetest.Hostile("a length beyond the end", []byte{0x0a, 0x7f}, nil, model.ErrInvalid),
		servetest.Hostile("a length without end", bytes.Repeat([]byte{0xff}, 64), nil, model.ErrInvalid),
		servetest.Hostile("text", []byte("GET / HTTP/1.1\r\n\r\n"), nil, model.ErrInvalid),
		servetest.Hostile("one byte too many", append(detach(t, nothing), make([]byte, wire.Most)...), nil, model.ErrInvalid),
		servetest.Hostile("a huge one", bytes.Repeat(whole, 150<<10/len(whole)), nil, model.ErrInvalid),
		servetest.Hostile("a whole one in the first part of one too long", append(padded(detach(t, nothing), wire.Most), whole...), nil, model.ErrInvalid),
		servetest.Hostile("a field too many", protowire.AppendString(protowire.AppendTag(detach(t, nothing), 9, protowire.BytesType), "x"), nil, model.ErrInvalid),
		servetest.Hostile("a number for the verb", protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 7), nil, model.ErrInvalid),
		servetest.Hostile("a group", protowire.AppendTag(detach(t, nothing), 5, protowire.StartGroupType), nil, model.ErrInvalid),
		servetest.Hostile("no verb", detach(t, func(c *helperv1.Call) { c.Verb = "" }), nil, model.ErrUnsupported),
		servetest.Hostile("an unknown verb", detach(t, func(c *helperv1.Call) { c.Verb = "helper.v1.RunRequest" }), nil, model.ErrUnsupported),
		servetest.Hostile("a verb in capitals", detach(t, func(c *helperv1.Call) { c.Verb = strings.ToUpper(c.Verb) }), nil, model.ErrUnsupported),
		servetest.Hostile("a response for a verb", detach(t, func(c *helperv1.Call) { c.Verb = "helper.v1.DetachResponse" }), nil, model.ErrUnsupported),
		servetest.Hostile("a verb and more", detach(t, func(c *helperv1.Call) { c.Verb += "\x00" }), nil, model.ErrUnsupported),
		servetest.Hostile("a long verb", detach(t, func(c *helperv1.Call) { c.Verb = strings.Repeat("v", 60<<10) }), nil, model.ErrUnsupported),
		servetest.Hostile("a request that is none", detach(t, func(c *helperv1.Call) { c.Request = []byte{0xff, 0xff} }), nil, model.ErrInvalid),
		servetest.Hostile("a request of another verb", detach(t, func(c *helperv1.Call) {
			c.Request = servetest.Encode(t, &helperv1.HelloResponse{Owner: 1})
		}), nil, model.ErrInvalid),
		servetest.Hostile("a request with a field too many", detach(t, func(c *helperv1.Call) {
			c.Request = protowire.AppendVarint(protowire.AppendTag(c.GetRequest(), 2, protowire.VarintType), 1)
		}), nil, model.ErrInvalid),
		servetest.Hostile("text that is not UTF-8", []byte("\x0a\x02\xff\xfe"), nil, model.ErrInvalid),
	}
	for _, n := range []int{1, 5, 9, 11, 20, len(whole) / 2, len(whole) - 5, len(whole) - 1} {
		calls = append(calls, servetest.Hostile(fmt.Sprintf("torn after %d of %d bytes", n, len(whole)), whole[:n], nil, nil))
	}
	return calls
}

// padded makes a message as long as that, by an installation in front of the one that counts.
func padded(data []byte, length int) []byte {
	rest := length - len(data)
	pad := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), strings.Repeat("x", rest-4))
	return append(pad, data...)
}

// misnamed are ids that are none.
func misnamed(t *testing.T) []servetest.Call {
	var calls []servetest.Call
	for _, id := range []string{"", "..", "aaaaaaa", "aaaaaaaaa", "AAAAAAAA", "aaaa/aaa", "../../..", "aaaaaaa\x00", "aaaaaaa\n", "aaaaaaa1"} {
		calls = append(calls, servetest.Hostile(fmt.Sprintf("the installation %q", id), detach(t, func(c *helperv1.Call) { c.Instance = id }), nil, model.ErrInvalid))
	}
	for _, id := range []string{"", ".", "..", "../../dev/sda", "/dev/null/aaaaaa", "aaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaa", "AAAAAAAAAAAAAAAA", "aaaaaaaaaaaaaaa\x00", "aaaaaaaaaaaaa.co", "aaaaaaaa-aaaaaaa", strings.Repeat("a", 50<<10)} {
		calls = append(calls, servetest.Hostile(fmt.Sprintf("the VM %.20q", id), detach(t, func(c *helperv1.Call) {
			c.Request = servetest.Encode(t, &helperv1.DetachRequest{Vm: id})
		}), nil, model.ErrInvalid))
	}
	return calls
}

// misfitted are descriptors that are not what may become a snapshot.
func misfitted(t *testing.T) []servetest.Call {
	base, cow := pair(t)
	const size = 1 << 20
	dir := t.TempDir()
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.Symlink("/etc/shadow", link), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	pidfd, perr := unix.PidfdOpen(os.Getpid(), 0)
	epoll, eerr := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	sockets, serr := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err := errors.Join(err, perr, eerr, serr); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{r, w} {
		t.Cleanup(func() { _ = f.Close() })
	}
	of := func(fd int) *os.File {
		f := os.NewFile(uintptr(fd), "descriptor")
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	_ = of(sockets[1])
	calls := []servetest.Call{}
	for name, f := range map[string]*os.File{
		"open for writing, too": file(t, size, os.O_RDWR),
		"open for writing only": file(t, size, os.O_WRONLY),
		"a path alone":          open(t, base.Name(), unix.O_PATH),
		"a symbolic link":       open(t, link, unix.O_PATH|unix.O_NOFOLLOW),
		"a directory":           open(t, dir, os.O_RDONLY),
		"a device":              open(t, "/dev/zero", os.O_RDONLY),
		"a FIFO":                open(t, fifo, os.O_RDONLY|unix.O_NONBLOCK),
		"a pipe":                r,
		"a socket":              of(sockets[0]),
		"a process":             of(pidfd),
		"an epoll":              of(epoll),
		"a process's memory":    open(t, "/proc/self/mem", os.O_RDONLY),
		"a file of the kernel":  open(t, "/proc/self/maps", os.O_RDONLY),
		"an empty file":         file(t, 0, os.O_RDONLY),
		"half a sector":         file(t, 256, os.O_RDONLY),
		"another user's file":   anothers(t, size),
		"the changes, too":      open(t, cow.Name(), os.O_RDONLY),
	} {
		calls = append(calls, servetest.Hostile("as the base: "+name, attach(t, 2), []*os.File{f, cow}, nil))
	}
	for name, f := range map[string]*os.File{
		"open for reading":   file(t, storage.COWBytes(size), os.O_RDONLY),
		"open for appending": file(t, storage.COWBytes(size), os.O_RDWR|os.O_APPEND),
		"too small":          file(t, storage.COWBytes(size)-1, os.O_RDWR),
		"a directory":        open(t, dir, os.O_RDONLY),
		"a device":           open(t, "/dev/null", os.O_RDWR),
		"a pipe's end":       w,
		"the base":           base,
	} {
		calls = append(calls, servetest.Hostile("for the changes: "+name, attach(t, 2), []*os.File{base, f}, nil))
	}
	for name, f := range servetest.Strange(t, os.O_RDONLY, size) {
		calls = append(calls, servetest.Hostile("as the base: "+name, attach(t, 2), []*os.File{f, cow}, nil))
	}
	for name, f := range servetest.Strange(t, os.O_RDWR, storage.COWBytes(size)) {
		calls = append(calls, servetest.Hostile("for the changes: "+name, attach(t, 2), []*os.File{base, f}, nil))
	}
	calls = append(calls,
		servetest.Hostile("no descriptors", attach(t, 2), nil, model.ErrInvalid),
		servetest.Hostile("one descriptor", attach(t, 2), []*os.File{base}, model.ErrInvalid),
		servetest.Hostile("three descriptors", attach(t, 3), []*os.File{base, cow, cow}, model.ErrInvalid),
		servetest.Hostile("another number than said", attach(t, 0), []*os.File{base, cow}, model.ErrInvalid),
		servetest.Hostile("too many descriptors", attach(t, 5), []*os.File{base, cow, cow, cow, cow}, model.ErrInvalid),
		servetest.Hostile("a hundred descriptors", attach(t, 100), many(base, 100), model.ErrInvalid),
		servetest.Hostile("descriptors for what takes none", detach(t, func(c *helperv1.Call) { c.Descriptors = 1 }), []*os.File{base}, model.ErrInvalid),
	)
	for i, c := range calls {
		if c.Kind == nil {
			calls[i].Kind = refusal(t, c.Files)
		}
	}
	return calls
}

// refusal is the kind of error for files of which one is not what it should be: whose it is is looked at with a regular one.
func refusal(t *testing.T, files []*os.File) error {
	t.Helper()
	for _, f := range files {
		var stat unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
			t.Fatal(err)
		}
		if stat.Mode&unix.S_IFMT == unix.S_IFREG && int(stat.Uid) != os.Getuid() {
			return model.ErrDenied
		}
	}
	return model.ErrInvalid
}

func many(f *os.File, n int) []*os.File {
	all := make([]*os.File, n)
	for i := range all {
		all[i] = f
	}
	return all
}

// anothers is a file that fits in all but its owner.
func anothers(t *testing.T, size int64) *os.File {
	t.Helper()
	if os.Getuid() != 0 {
		return open(t, "/etc/passwd", os.O_RDONLY)
	}
	f := file(t, size, os.O_RDONLY)
	if err := os.Chown(f.Name(), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	return f
}

// devicesOfHost are what this host has of loop devices over files of the test's, whosever they are, of what is mapped over
// those, and of nodes of the installation's. Other tests have theirs meanwhile.
func devicesOfHost(t *testing.T) string {
	t.Helper()
	all := globbed(t, "/dev/banger-*"+string(instance)+"/*")
	for _, path := range globbed(t, "/sys/block/loop*/loop/backing_file") {
		if file, err := os.ReadFile(path); err == nil && strings.Contains(string(file), t.Name()) {
			all = append(append(all, path), globbed(t, filepath.Join(filepath.Dir(filepath.Dir(path)), "holders", "*"))...)
		}
	}
	return strings.Join(all, "\n")
}

func globbed(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestHostileCallsHaveNoEffect is not parallel: it counts descriptors.
func TestHostileCallsHaveNoEffect(t *testing.T) {
	var effects atomic.Int64
	socket := servetest.Here(t, service(func(c serve.Caller) storagecall.Host {
		return guarded{storage.New(storage.Options{Instance: c.Instance, UID: c.UID, GID: c.GID}), &effects}
	}))
	calls := append(append(malformed(t), misnamed(t)...), misfitted(t)...)
	calls = append(calls, servetest.Call{Name: "an empty message"})
	servetest.HaveNoEffect(t, socket, &effects, devicesOfHost, calls, detach(t, func(*helperv1.Call) {}))
}
