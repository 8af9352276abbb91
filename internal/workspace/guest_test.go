package workspace

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"banger/internal/agent"
	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/vmm/vmmtest"
)

// realGuest is the agent that runs in guests, over a directory of the test's.
type realGuest struct {
	g    *guest.Guest
	root string // on the host
}

func newGuest(t testing.TB) *realGuest { return guestAt(t, t.TempDir()) }

func guestAt(t testing.TB, root string) *realGuest {
	t.Helper()
	system, err := vmmtest.NewSystem(vmmtest.SystemOptions{Files: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { system.Stop(0) })
	ours, theirs := socketpair(t)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		agent.New(system, "test").ServeConn(ctx, theirs)
	}()
	g, err := guest.Connect(ctx, ours)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close(); cancel(); <-served })
	if err := g.Configure(ctx, guest.Config{Generation: 1}); err != nil {
		t.Fatal(err)
	}
	return &realGuest{g: g, root: root}
}

func socketpair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]net.Conn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		if conns[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return conns[0], conns[1]
}

func (r *realGuest) List(ctx context.Context, root string, visit func(GuestFile) error) error {
	return r.g.ListTree(ctx, root, func(f guest.TreeFile) error {
		kind := KindFile
		switch {
		case f.Git:
			kind = KindGit
		case f.Special:
			kind = KindSpecial
		case f.Link:
			kind = KindLink
		}
		return visit(GuestFile{Path: f.Path, Kind: kind, Exec: f.Exec, Size: f.Size, Target: f.Target})
	})
}

func (r *realGuest) Hash(ctx context.Context, root, format string, paths []string) ([]string, error) {
	return r.g.HashTree(ctx, root, format, paths)
}

func (r *realGuest) Read(ctx context.Context, root string, paths []string, w io.Writer) error {
	return r.g.ReadTree(ctx, root, paths, w)
}

// trip is a project that was copied into a guest.
type trip struct {
	t       testing.TB
	host    string // the project
	inside  string // the guest's copy, as the test reaches it
	guest   *realGuest
	scratch string
	state   string // of the VM
	w       Workspace
	undo    string
	plan    *Plan
}

func copyIn(t testing.TB, host string, o Options) *trip {
	t.Helper()
	tr := &trip{t: t, host: host, guest: newGuest(t), scratch: t.TempDir(), state: t.TempDir()}
	plan, err := NewPlan(t.Context(), tr.scratch, host, o)
	if err != nil {
		t.Fatal(err)
	}
	tr.plan = plan
	tr.w = Workspace{Dir: filepath.Join(tr.state, "workspace.git"), Scratch: tr.scratch, Host: plan.Path(), Guest: "/project", Options: o}
	r, feed := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := tr.guest.g.WriteFiles(t.Context(), model.FileWrite{Dir: "/", Name: "project"}, r)
		r.CloseWithError(err)
		done <- err
	}()
	tr.w.Base, err = plan.Copy(t.Context(), tr.w.Dir, "project", feed, model.Discard)
	feed.CloseWithError(err)
	if werr := <-done; err != nil || werr != nil {
		t.Fatal(err, werr)
	}
	tr.inside = filepath.Join(tr.guest.root, "project")
	return tr
}

func (tr *trip) journal() string { return filepath.Join(tr.state, "journal.json") }

func (tr *trip) commit(base, undo, seen string) error {
	tr.w.Base.Tree, tr.undo, tr.w.Base.Fingerprint = base, undo, seen
	return nil
}

func (tr *trip) diff(o FetchOptions) (Review, string) {
	tr.t.Helper()
	var r Review
	var patch bytes.Buffer
	err := tr.w.Diff(tr.t.Context(), tr.guest, o, model.Discard, func(got Review) error { r = got; return nil }, &patch)
	if err != nil {
		tr.t.Fatal(err)
	}
	return r, patch.String()
}

func (tr *trip) apply() error {
	_, err := tr.w.Apply(tr.t.Context(), tr.guest, FetchOptions{}, tr.journal(), tr.commit, model.Discard)
	return err
}

// sh runs a script in a directory with an ordinary user's git.
func sh(t testing.TB, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=A",
		"GIT_COMMITTER_EMAIL=a@example.org", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// repo makes a git work tree by a script.
func repo(t testing.TB, script string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	sh(t, dir, "git init -q -b main . && "+script)
	return dir
}

// fingerprintOf is all that a directory holds, by name, mode, time and content.
func fingerprintOf(t testing.TB, dir string) string {
	t.Helper()
	return sh(t, dir, `find . -printf '%p %y %m %T@ %l\n' | sort; find . -type f -print0 | sort -z | xargs -0r sha256sum`)
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func requireContains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}

// mountTmpfs mounts a file system in memory until the test's end.
func mountTmpfs(t testing.TB, dir, options string) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		return err
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return nil
}
