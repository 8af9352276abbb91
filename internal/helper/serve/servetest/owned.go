package servetest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Owned is a file of a user's who hands it to the helper, and does to it what an owner can meanwhile.
type Owned struct {
	Handed  *os.File // the descriptor for the helper
	Changes []Change

	path string
	own  *os.File // the owner's, open for writing
	size int64
}

// Change is one thing that is done to a file.
type Change struct {
	Name string
	Do   func() error

	// Aside says that the file itself stays as it is, so that the helper can use it all the same.
	Aside bool
}

// Own makes a file of that size and hands it over open so, or a FIFO with a size below zero. another is a path of somebody
// else's file, to which the changes try to lead the helper.
func Own(t *testing.T, uid int, size int64, flags int, another string) *Owned {
	t.Helper()
	o := &Owned{path: filepath.Join(t.TempDir(), "file"), size: size}
	create := func() error { return errors.Join(os.WriteFile(o.path, nil, 0o600), os.Truncate(o.path, size)) }
	if size < 0 {
		create = func() error { return unix.Mkfifo(o.path, 0o600) }
	}
	if err := errors.Join(create(), os.Chown(o.path, uid, uid), os.Link(o.path, o.path+".kept")); err != nil {
		t.Fatal(err)
	}
	open := func(flags int) *os.File {
		f, err := os.OpenFile(o.path, flags|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	o.own, o.Handed = open(os.O_RDWR), open(flags)
	o.Changes = o.changes(another)
	return o
}

func (o *Owned) changes(another string) []Change {
	instead := func(create func(path string) error) func() error {
		return func() error { return errors.Join(create(o.path+".new"), os.Rename(o.path+".new", o.path)) }
	}
	all := []Change{
		{Name: "a link to another's in its place", Aside: true, Do: instead(func(path string) error { return os.Symlink(another, path) })},
		{Name: "another's in its place", Aside: true, Do: instead(func(path string) error { return os.Link(another, path) })},
		{Name: "moved away", Aside: true, Do: func() error { return os.Rename(o.path, o.path+".moved") }},
		{Name: "removed", Aside: true, Do: func() error { return errors.Join(os.Remove(o.path), os.Remove(o.path+".kept")) }},
		{Name: "closed to all", Aside: true, Do: func() error { return o.own.Chmod(0) }},
		{Name: "with its owner's rights for all", Aside: true, Do: func() error { return o.own.Chmod(0o777 | os.ModeSetuid) }},
	}
	if o.size < 0 {
		return all
	}
	return append(all,
		Change{Name: "grown", Aside: true, Do: func() error { return o.own.Truncate(2 * o.size) }},
		Change{Name: "cut", Do: func() error { return o.own.Truncate(o.size/2 + 1) }},
		Change{Name: "emptied", Do: func() error { return o.own.Truncate(0) }},
		Change{Name: "written to", Do: o.rewrite},
		Change{Name: "open for appending", Do: func() error { return o.setFlags(unix.O_APPEND) }},
	)
}

// rewrite opens the file again, unless there is something else in its place by now.
func (o *Owned) rewrite() error {
	f, err := os.OpenFile(o.path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	is, ierr := f.Stat()
	was, werr := o.own.Stat()
	if err := errors.Join(ierr, werr); err != nil || !os.SameFile(is, was) {
		return err
	}
	_, err = f.WriteAt(bytes.Repeat([]byte("x"), 8<<10), 0)
	return err
}

// setFlags changes how the file is open that the helper has: it is open once, for both.
func (o *Owned) setFlags(more int) error {
	conn, err := o.Handed.SyscallConn()
	if err != nil {
		return err
	}
	cerr := conn.Control(func(fd uintptr) { _, err = unix.FcntlInt(fd, unix.F_SETFL, unix.O_NONBLOCK|more) })
	return errors.Join(cerr, err)
}

// restore makes the file what it was, as far as that can be done.
func (o *Owned) restore() {
	again := o.path + ".again"
	if os.Link(o.path+".kept", again) == nil {
		_ = os.Rename(again, o.path) // does nothing where both are the file
		_ = os.Remove(again)
	}
	_ = o.own.Chmod(0o600)
	if o.size >= 0 {
		_ = o.own.Truncate(o.size)
		_ = o.setFlags(0)
	}
}

// Churn makes the changes of all files, each for a moment, again and again, beginning with the nth, until stop is called.
func Churn(n int, files ...*Owned) (stop func()) {
	ended, stopped := make(chan struct{}), &atomic.Bool{}
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and ends with it
		const low = 10
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, low) // of the thread: the helper goes on where there is one processor for both
		for ; !stopped.Load(); n++ {
			f := files[n%len(files)]
			if c := f.Changes[n/len(files)%len(f.Changes)]; c.Name != "removed" { // there would be nothing to restore
				_ = c.Do() // in the way of others it may fail
			}
			f.restore()
		}
	}()
	return func() {
		stopped.Store(true)
		<-ended
	}
}

// Another is the path of a file of root's that nobody else may read. It must be the same when the test ends.
func Another(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(path, bytes.Repeat([]byte("root:*:\n"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func() (text []byte, stat unix.Stat_t) {
		text, err := os.ReadFile(path)
		if err := errors.Join(err, unix.Stat(path, &stat)); err != nil {
			t.Error(err)
		}
		return text, stat
	}
	text, was := look()
	t.Cleanup(func() {
		after, is := look()
		if !bytes.Equal(after, text) || is.Mode != was.Mode || is.Uid != was.Uid || is.Mtim != was.Mtim || is.Blocks != was.Blocks {
			t.Errorf("another's file was changed: %+v became %+v", was, is)
		}
	})
	return path
}

// Over fails unless the loop device stands for the file that the descriptor is of.
func Over(t *testing.T, loop string, file *os.File) {
	t.Helper()
	device, err := os.Open(loop)
	if err != nil {
		t.Error(err)
		return
	}
	defer device.Close()
	info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
	var stat unix.Stat_t
	if err := errors.Join(err, unix.Fstat(int(file.Fd()), &stat)); err != nil || info.Inode != stat.Ino || info.Device != stat.Dev {
		t.Errorf("%s is over %+v, not inode %d of %d: %v", loop, info, stat.Ino, stat.Dev, err)
	}
}

// Between implements storage.Rules: the helper asks for these before it makes each loop device, when it has checked the file.
type Between struct {
	mu     sync.Mutex
	passed int // before the change is made
	next   *Change
}

// Have has a change made in the next call, before its nth loop device from 0 on. Calls take turns.
func (b *Between) Have(c Change, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next, b.passed = &c, n
}

// Had says whether it was made.
func (b *Between) Had() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next == nil
}

// Ready implements storage.Rules.
func (b *Between) Ready() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.next
	if b.passed--; c == nil || b.passed >= 0 {
		return nil
	}
	b.next = nil
	return c.Do()
}
