package workspace

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"banger/internal/model"
)

// TestConflicts changes one file on both sides in every way, and wants nothing written and that file named.
func TestConflicts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ guest, host, want string }{
		"both changed":                 {"echo g >a", "echo h >a", `"a" has changed on the host`},
		"changed here, removed there":  {"rm a", "echo h >a", `"a" has changed on the host`},
		"removed here, changed there":  {"echo g >a", "rm a", `"a" is gone on the host`},
		"both new":                     {"echo g >n", "echo h >n", `"n" is new in the guest`},
		"mode here":                    {"echo g >a", "chmod +x a", `"a" has changed on the host`},
		"a link here":                  {"echo g >a", "rm a; ln -s /etc/passwd a", `"a" has changed on the host`},
		"a directory here":             {"echo g >a", "rm a; mkdir a; touch a/x", `"a" cannot be written: on the host it is a directory`},
		"a FIFO here":                  {"echo g >a", "rm a; mkfifo a", `"a" cannot be written: on the host it is no regular file`},
		"its directory is a link here": {"echo g >d/b", "rm -r d; ln -s ../outside d", `"d/b" cannot be written: on the host it lies below a link`},
		"a file where it needs a dir":  {"mkdir n; echo g >n/x", "echo h >n", `"n/x" cannot be written`},
		"an untracked file in its way": {"rm -r d; echo g >d", "touch d/mine", `"d" is a directory on the host, with files that are not part of the project`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := repo(t, "echo 1 >a; echo 2 >z; mkdir d; echo 3 >d/b; mkdir ../outside; git add . && git commit -qm x")
			tr := copyIn(t, host, Options{})
			sh(t, tr.inside, c.guest+"; echo changed >z; echo new >zz")
			sh(t, host, c.host)
			before := fingerprintOf(t, filepath.Dir(host))
			err := tr.apply()
			var conflicts *ConflictError
			if !errors.As(err, &conflicts) || !errors.Is(err, model.ErrState) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if after := fingerprintOf(t, filepath.Dir(host)); after != before {
				t.Errorf("something was written:\n%s\nwas:\n%s", after, before)
			}
		})
	}
}

func TestTheSameChangeOnBothSidesIsNone(t *testing.T) {
	t.Parallel()
	host := repo(t, "echo 1 >a; echo 2 >b; git add . && git commit -qm x")
	tr := copyIn(t, host, Options{})
	sh(t, tr.inside, "echo both >a; echo guest >b; rm -f c")
	sh(t, host, "echo both >a")
	if err := tr.apply(); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.w.Undo(t.Context(), tr.undo, tr.journal(), tr.commit); err != nil {
		t.Fatal(err)
	}
	if a, b := read(t, filepath.Join(host, "a")), read(t, filepath.Join(host, "b")); a != "both\n" || b != "2\n" {
		t.Errorf("after the undo a is %q, which the user wrote, and b %q", a, b)
	}
}

func TestUndoStandsBackFromChanges(t *testing.T) {
	t.Parallel()
	host := repo(t, "echo 1 >a; echo 2 >b; git add . && git commit -qm x")
	tr := copyIn(t, host, Options{})
	sh(t, tr.inside, "echo one >a; echo two >b")
	if err := tr.apply(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(host, "b"), "the user's\n")
	if _, err := tr.w.Undo(t.Context(), tr.undo, tr.journal(), tr.commit); err == nil || !strings.Contains(err.Error(), `"b" has changed`) {
		t.Error(err)
	}
	if got := read(t, filepath.Join(host, "a")); got != "one\n" {
		t.Errorf("a is %q", got)
	}
}

func TestWhatIsWrittenHasTheModesOfItsPlace(t *testing.T) {
	t.Parallel()
	host := repo(t, "echo 1 >a; chmod 600 a; mkdir private; chmod 700 private; echo 2 >private/p; chmod 755 .; git add . && git commit -qm x")
	tr := copyIn(t, host, Options{})
	sh(t, tr.inside, "echo x >>a; echo x >n; echo x >e; chmod +x e; echo x >private/q; mkdir -p private/r; echo x >private/r/s")
	if err := tr.apply(); err != nil {
		t.Fatal(err)
	}
	got := sh(t, host, "stat -c '%a %n' a n e private/q private/r private/r/s")
	if want := "600 a\n644 n\n755 e\n600 private/q\n700 private/r\n600 private/r/s\n"; got != want {
		t.Errorf("modes:\n%swant:\n%s", got, want)
	}
}

func TestFilesBecomeDirectoriesAndBack(t *testing.T) {
	t.Parallel()
	host := repo(t, "echo 1 >f; mkdir -p d/e; echo 2 >d/e/x; echo 3 >d/y; git add . && git commit -qm x")
	before := contentsOf(t, host)
	tr := copyIn(t, host, Options{})
	sh(t, tr.inside, "rm f; mkdir f; echo in >f/x; rm -r d; echo file >d")
	after := contentsOf(t, tr.inside)
	for range 2 {
		if err := tr.apply(); err != nil {
			t.Fatal(err)
		}
		if got := contentsOf(t, host); got != after {
			t.Errorf("applied:\n%s\nwant:\n%s", got, after)
		}
		if _, err := tr.w.Undo(t.Context(), tr.undo, tr.journal(), tr.commit); err != nil {
			t.Fatal(err)
		}
		if got := contentsOf(t, host); got != before {
			t.Errorf("undone:\n%s\nwant:\n%s", got, before)
		}
	}
}

func TestAReviewIsOfWhatIsApplied(t *testing.T) {
	t.Parallel()
	host := repo(t, "echo 1 >a; git add . && git commit -qm x")
	tr := copyIn(t, host, Options{})
	write(t, filepath.Join(tr.inside, "a"), "reviewed\n")
	r, _ := tr.diff(FetchOptions{})
	write(t, filepath.Join(tr.inside, "a"), "changed meanwhile\n")
	_, err := tr.w.Apply(t.Context(), tr.guest, FetchOptions{Tree: r.Tree}, tr.journal(), tr.commit, model.Discard)
	if err == nil || !strings.Contains(err.Error(), "since the review") || read(t, filepath.Join(host, "a")) != "1\n" {
		t.Error(err)
	}
}

func TestTheReviewNamesWhatRuns(t *testing.T) {
	t.Parallel()
	host := repo(t, "echo 1 >a; git add . && git commit -qm x")
	tr := copyIn(t, host, Options{})
	sh(t, tr.inside, "mkdir -p .vscode .husky .github/workflows e/refs d; touch .vscode/tasks.json .husky/pre-commit .github/workflows/x.yml .envrc .gitattributes package.json Makefile d/conftest.py CLAUDE.md e/HEAD e/config ordinary d/config")
	r, _ := tr.diff(FetchOptions{})
	for _, c := range r.Changes {
		ordinary := c.Path == "ordinary" || c.Path == "d/config" || c.Path == "e/HEAD"
		if (c.Runs == "") != ordinary {
			t.Errorf("%s: %q", c.Path, c.Runs)
		}
	}
	if len(r.Changes) != 13 {
		t.Errorf("%d changes", len(r.Changes))
	}
}

func TestSubmodulesComeBackAsFiles(t *testing.T) {
	t.Parallel()
	host := repo(t, "git init -q -b m s && (cd s && echo 1 >f && git add f && git commit -qm s) && git -c protocol.file.allow=always submodule -q add ./s s 2>/dev/null; echo 2 >a; git add -A; git commit -qm x")
	tr := copyIn(t, host, Options{})
	if got := sh(t, tr.inside, "git status --porcelain"); got != "" {
		t.Errorf("the guest's status: %s", got)
	}
	sh(t, tr.inside, "echo one >s/f; echo two >a")
	r, patch := tr.diff(FetchOptions{BaseCommit: "HEAD"})
	if strings.Contains(patch, "s/f") || !strings.Contains(patch, "+two") {
		t.Errorf("relative to the commit:\n%s", patch)
	}
	if len(r.Left) != 1 || r.Left[0].Path != "s/f" || r.Tree != "" {
		t.Errorf("left out is %v, and the state is called %q", r.Left, r.Tree)
	}
	sh(t, tr.inside, "rm s/f")
	if r, _ = tr.diff(FetchOptions{BaseCommit: "HEAD"}); len(r.Left) != 1 || r.Left[0].Path != "s/f" || r.Tree != "" {
		t.Errorf("of a removed file, left out is %v, and the state is called %q", r.Left, r.Tree)
	}
	sh(t, tr.inside, "echo 1 >s/f")
	if r, _ = tr.diff(FetchOptions{BaseCommit: "HEAD"}); len(r.Left) != 0 || r.Tree == "" {
		t.Errorf("unchanged, left out is %v, and the state is called %q", r.Left, r.Tree)
	}
	sh(t, tr.inside, "echo one >s/f")
	if err := tr.apply(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(host, "s", "f")); got != "one\n" {
		t.Errorf("s/f is %q", got)
	}
}

func TestWhatIsRefusedIsNeverOut(t *testing.T) {
	t.Parallel()
	tr := copyIn(t, repo(t, "echo 1 >a; git add -A; git commit -qm x"), Options{})
	sh(t, tr.inside, "echo 2 >a; ln -s /etc/passwd out")
	r, _ := tr.diff(FetchOptions{SkipRefused: true})
	changed, err := tr.w.Changed(t.Context(), tr.guest, r.Tree)
	if len(r.Refused) != 1 || err != nil || !changed {
		t.Errorf("refused %v, changed %v, %v", r.Refused, changed, err)
	}
	sh(t, tr.inside, "rm out")
	if changed, err = tr.w.Changed(t.Context(), tr.guest, r.Tree); err != nil || changed {
		t.Errorf("without it, changed %v, %v", changed, err)
	}
}

func TestErrorsNameThePlaceAndNoPassingName(t *testing.T) {
	t.Parallel()
	c := &change{journal: journal{Host: "/home/me/repo"}}
	err := c.unwritten("d/.banger-1.tmp", fmt.Errorf("cannot make d/.banger-1.tmp: %w", syscall.EACCES))
	if err.Error() != `cannot write in "/home/me/repo/d": permission denied` || !errors.Is(err, model.ErrDenied) {
		t.Error(err)
	}
	requireContains(t, (&ConflictError{Conflicts: make([]Conflict, 1)}).Error(), "1 of its files is not as it was;")
	requireContains(t, (&ConflictError{Conflicts: make([]Conflict, 2)}).Error(), "2 of its files are not as they were;")
}

func TestPatchesRelativeToACommit(t *testing.T) {
	t.Parallel()
	host := repo(t, "echo 1 >a; echo 1 >b; echo s >.env; git add -A && git commit -qm x; echo 2 >a; rm b; echo dirty >c; git add c")
	tr := copyIn(t, host, Options{})
	sh(t, tr.inside, "echo guest >d")
	_, patch := tr.diff(FetchOptions{})
	if strings.Contains(patch, "b/a") || !strings.Contains(patch, "+guest") {
		t.Errorf("relative to the copy:\n%s", patch)
	}
	r, patch := tr.diff(FetchOptions{BaseCommit: "HEAD"})
	requireContains(t, patch, "+guest", "+2", "+dirty", "deleted file")
	if strings.Contains(patch, ".env") || r.Base == "" {
		t.Errorf("relative to the commit:\n%s", patch)
	}
	err := tr.w.Diff(t.Context(), tr.guest, FetchOptions{BaseCommit: "no-such"}, model.Discard, func(Review) error { return nil }, io.Discard)
	if !errors.Is(err, model.ErrNotFound) {
		t.Error(err)
	}
}

func TestAFullDiskLeavesNothingHalf(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("making a small file system needs root")
	}
	small := t.TempDir()
	if err := mountTmpfs(t, small, "size=1m"); err != nil {
		t.Skip("cannot mount: " + err.Error())
	}
	host := filepath.Join(small, "repo")
	if err := os.Mkdir(host, 0o755); err != nil {
		t.Fatal(err)
	}
	sh(t, host, "git init -q . && echo 1 >a && git add . && git commit -qm x")
	before := contentsOf(t, host)
	tr := copyIn(t, host, Options{})
	sh(t, tr.inside, "echo changed >a; for i in 1 2 3 4 5 6; do head -c 400000 /dev/urandom >n$i; done")
	if err := tr.apply(); !errors.Is(err, model.ErrNoSpace) && !strings.Contains(err.Error(), "no space") {
		t.Errorf("%v", err)
	}
	if after := contentsOf(t, host); after != before {
		t.Errorf("something was left:\n%s", after)
	}
	if _, err := os.Stat(tr.journal()); err == nil {
		t.Error("a journal is left")
	}
}
