//go:build crash

package workspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/testenv"
)

// The child of these tests is this binary with a directory and the verb that is to be killed.
const (
	crashDir  = "BANGER_WORKSPACE_CRASH_DIR"
	crashVerb = "BANGER_WORKSPACE_CRASH_VERB"
)

// saved is what stands for the database.
type saved struct {
	W    Workspace
	Undo string
}

func (s saved) save(t testing.TB, dir string) {
	t.Helper()
	text, err := json.Marshal(s)
	if err == nil {
		err = writeDurably(dir, "saved.json", text)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func load(t testing.TB, dir string) (s saved) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "saved.json"))), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func commitTo(t testing.TB, dir string) Commit {
	return func(base, undo, seen string) error {
		s := load(t, dir)
		s.W.Base.Tree, s.Undo, s.W.Base.Fingerprint = base, undo, seen
		s.save(t, dir)
		return nil
	}
}

// TestCrashChild is the process that is killed; without its environment it is no test.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("it is the child of TestCrash")
	}
	armed := os.Getenv(crash.Env)
	os.Unsetenv(crash.Env)
	s := load(t, dir)
	g := guestAt(t, filepath.Join(dir, "guest"))
	journal := filepath.Join(dir, "journal")
	if os.Getenv(crashVerb) == "undo" {
		if _, err := s.W.Apply(t.Context(), g, FetchOptions{}, journal, commitTo(t, dir), model.Discard); err != nil {
			t.Fatal(err)
		}
		s = load(t, dir)
		os.Setenv(crash.Env, armed)
		_, err := s.W.Undo(t.Context(), s.Undo, journal, commitTo(t, dir))
		t.Log(err)
		return
	}
	os.Setenv(crash.Env, armed)
	_, err := s.W.Apply(t.Context(), g, FetchOptions{}, journal, commitTo(t, dir), model.Discard)
	t.Log(err)
}

// TestCrash kills an apply and an undo at every point, several times where one is passed often, and wants the host's
// files old or new afterwards, never mixed, with nothing left beside them.
func TestCrash(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, verb := range []string{"apply", "undo"} {
		for _, point := range crash.Points() {
			if !strings.HasPrefix(point, "workspace.") || point == "workspace.back.after" {
				continue
			}
			times := 1
			if point == "workspace.converge" || point == "workspace.staged" {
				times = 4
			}
			for n := 1; n <= times; n++ {
				tried++
				t.Run(fmt.Sprintf("%s/%s#%d", verb, point, n), func(t *testing.T) {
					t.Parallel()
					crashAt(t, verb, fmt.Sprintf("%s#%d", point, n))
				})
			}
		}
	}
	t.Logf("%d crashes", tried)
}

func crashAt(t *testing.T, verb, point string) {
	dir, old, changed := crashProject(t)
	killAt(t, dir, verb, point)
	s := load(t, dir)
	if err := s.W.Recover(t.Context(), filepath.Join(dir, "journal"), commitTo(t, dir)); err != nil {
		t.Fatal(err)
	}
	after := load(t, dir)
	host := filepath.Join(dir, "host")
	got := contentOf(t, host)
	switch {
	case got == old && after.W.Base.Tree == s0(t, dir).W.Base.Tree:
	case got == changed && after.W.Base.Tree != s0(t, dir).W.Base.Tree && after.Undo != "":
	default:
		t.Errorf("after %s the project is neither old nor new (base %s, undo %s):\n%s\nold:\n%s\nnew:\n%s", point, after.W.Base.Tree, after.Undo, got, old, changed)
	}
	if _, err := os.Stat(filepath.Join(dir, "journal")); err == nil {
		t.Error("a journal is left")
	}
	if err := after.W.Recover(t.Context(), filepath.Join(dir, "journal"), commitTo(t, dir)); err != nil {
		t.Error(err)
	}
}

// killAt runs the child until it is killed at a point.
func killAt(t *testing.T, dir, verb, point string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestCrashChild$", "-test.v")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashVerb+"="+verb, crash.Env+"="+point)
	out, _ := cmd.CombinedOutput()
	if !testenv.Killed(cmd) {
		t.Fatalf("%s was not reached:\n%s", point, out)
	}
}

// s0 is what was saved before anything was applied.
func s0(t testing.TB, dir string) saved { return load(t, filepath.Join(dir, "first")) }

func contentOf(t testing.TB, dir string) string {
	return sh(t, dir, `find . -path ./.git -prune -o ! -type d -printf '%p %y %m %l\n' | sort; find . -path ./.git -prune -o -type f -print0 | sort -z | xargs -0r sha256sum`)
}

// crashProject makes a project with a guest that changed it, and returns what the host's files are before and after.
func crashProject(t *testing.T) (dir, old, changed string) {
	dir = t.TempDir()
	host := filepath.Join(dir, "host")
	if err := os.Mkdir(host, 0o755); err != nil {
		t.Fatal(err)
	}
	sh(t, host, "git init -q . && echo 1 >a && echo 2 >b && mkdir d && echo 3 >d/c && echo 4 >gone && echo 6 >z && ln -s a l && git add . && git commit -qm first")
	tr := copyIn(t, host, Options{})
	sh(t, tr.inside, "echo one >a; chmod +x b; rm gone; mkdir -p n/m && echo new >n/m/f; rm -r d; echo file >d; ln -sf b l; echo six >z")
	old, changed = contentOf(t, host), sh(t, tr.inside, `find . -path ./.git -prune -o ! -type d -printf '%p %y %m %l\n' | sort; find . -path ./.git -prune -o -type f -print0 | sort -z | xargs -0r sha256sum`)
	for from, to := range map[string]string{tr.guest.root: "guest", tr.w.Dir: "store"} {
		sh(t, dir, "cp -a '"+from+"' '"+to+"'")
	}
	tr.w.Dir, tr.w.Scratch = filepath.Join(dir, "store"), filepath.Join(dir, "scratch")
	if err := errors.Join(os.Mkdir(tr.w.Scratch, 0o700), os.Mkdir(filepath.Join(dir, "first"), 0o700)); err != nil {
		t.Fatal(err)
	}
	saved{W: tr.w}.save(t, dir)
	saved{W: tr.w}.save(t, filepath.Join(dir, "first"))
	return dir, old, changed
}

// TestRecoverBack takes back a change that was going back when its daemon died.
func TestRecoverBack(t *testing.T) {
	t.Parallel()
	dir, old, _ := crashProject(t)
	killAt(t, dir, "apply", "workspace.converge#4")
	journal := filepath.Join(dir, "journal")
	j, err := readJournal(journal)
	if err != nil || j.Phase != phaseForward {
		t.Fatal(j, err)
	}
	j.Phase = phaseBack
	if err := j.write(journal); err != nil {
		t.Fatal(err)
	}
	s := load(t, dir)
	if err := s.W.Recover(t.Context(), journal, commitTo(t, dir)); err != nil {
		t.Fatal(err)
	}
	if got := contentOf(t, filepath.Join(dir, "host")); got != old {
		t.Errorf("the project is:\n%s\nwas:\n%s", got, old)
	}
	if load(t, dir).W.Base.Tree != s.W.Base.Tree {
		t.Error("the base moved")
	}
}

// TestRecoverBesideTheUser leaves alone what the user wrote between the crash and the next daemon, and takes the rest back.
func TestRecoverBesideTheUser(t *testing.T) {
	t.Parallel()
	dir, old, _ := crashProject(t)
	killAt(t, dir, "apply", "workspace.converge#3")
	host := filepath.Join(dir, "host")
	write(t, filepath.Join(host, "z"), "the user's\n")
	s := load(t, dir)
	err := s.W.Recover(t.Context(), filepath.Join(dir, "journal"), commitTo(t, dir))
	if err == nil || !strings.Contains(err.Error(), `"z" was changed by somebody else`) {
		t.Error(err)
	}
	if got := read(t, filepath.Join(host, "z")); got != "the user's\n" {
		t.Errorf("the user's file is %q", got)
	}
	write(t, filepath.Join(host, "z"), "6\n")
	if got := contentOf(t, host); got != old {
		t.Errorf("the project is:\n%s\nwas:\n%s", got, old)
	}
}
