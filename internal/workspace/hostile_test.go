package workspace

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
)

// hostile is one repository that comes back from a guest. CANARY in its script is a command that touches a file outside
// of the guest: whatever runs it, or writes through a link to it, is seen.
type hostile struct {
	name   string
	script string // run in the guest's project
	lie    func(honest Guest) Guest
	want   string // part of the error, or of what is refused or left; "" for a plain success
	landed string // a file that the apply must have brought
}

func hostiles() []hostile {
	config := func(text string) string {
		return "printf '%s\\n' '" + text + "' >>.git/config; echo changed >a"
	}
	plant := func(dir string) string {
		return fmt.Sprintf("mkdir -p '%s/hooks' && printf '[core]\\n\\tfsmonitor = CANARY\\n' >'%s/config' && printf '#!/bin/sh\\nCANARY\\n' >'%s/hooks/post-checkout' && chmod +x '%s/hooks/post-checkout'", dir, dir, dir, dir)
	}
	return []hostile{
		{name: "hooks", script: `mkdir -p .git/hooks; for h in pre-commit post-checkout post-index-change reference-transaction pre-applypatch; do printf '#!/bin/sh\nCANARY\n' >.git/hooks/$h; chmod +x .git/hooks/$h; done; echo changed >a`, landed: "a"},
		{name: "fsmonitor", script: config("[core]\n\tfsmonitor = CANARY"), landed: "a"},
		{name: "hooksPath", script: config("[core]\n\thooksPath = /tmp/x"), landed: "a"},
		{name: "diff.external", script: config("[diff]\n\texternal = CANARY"), landed: "a"},
		{name: "filters", script: config("[filter \"x\"]\n\tclean = CANARY\n\tsmudge = CANARY\n\tprocess = CANARY\n\trequired = true") + "; echo '* filter=x' >.gitattributes", landed: "a"},
		{name: "textconv", script: config("[diff \"x\"]\n\ttextconv = CANARY\n\tcommand = CANARY") + "; echo '* diff=x' >.gitattributes", landed: "a"},
		{name: "merge driver", script: config("[merge \"x\"]\n\tdriver = CANARY") + "; echo '* merge=x' >.gitattributes", landed: "a"},
		{name: "ssh, pager, editor, askpass", script: config("[core]\n\tsshCommand = CANARY\n\tpager = CANARY\n\teditor = CANARY\n\taskPass = CANARY\n[gpg]\n\tprogram = CANARY\n[credential]\n\thelper = !CANARY"), landed: "a"},
		{name: "included configuration", script: config("[include]\n\tpath = ../evil") + "; printf '[core]\n\tfsmonitor = CANARY\n' >evil", landed: "evil"},
		{name: "worktree elsewhere", script: config("[core]\n\tworktree = /"), landed: "a"},
		{name: "promisor remote", script: config("[remote \"o\"]\n\turl = ext::CANARY\n\tpromisor = true\n[extensions]\n\tpartialClone = o"), landed: "a"},
		{name: ".git is a file", script: "rm -rf .git; echo 'gitdir: ../elsewhere' >.git; echo changed >a", landed: "a"},
		{name: ".git is a link", script: "rm -rf .git; ln -s /etc .git; echo changed >a", landed: "a"},
		{name: ".git is gone", script: "rm -rf .git; echo changed >a", landed: "a"},
		{name: "alternates", script: "mkdir -p .git/objects/info; echo /etc >.git/objects/info/alternates; echo changed >a", landed: "a"},
		{name: "info/attributes", script: "mkdir -p .git/info; echo '* filter=x diff=x' >.git/info/attributes; echo changed >a", landed: "a"},
		{name: "broken repository", script: "echo rubbish >.git/HEAD; head -c 100000 /dev/urandom >.git/index; echo changed >a", landed: "a"},
		{name: "nested repository", script: plant("sub/.git") + "; echo x >sub/file", want: "a git repository in the project", landed: "sub/file"},
		{name: "submodule that runs a command", script: `printf '[submodule "x"]\n\tpath = x\n\turl = ext::CANARY\n\tupdate = !CANARY\n' >.gitmodules`, landed: ".gitmodules"},
		{name: "submodule path into .git", script: `printf '[submodule "../../x"]\n\tpath = .git/x\n\turl = ./x\n' >.gitmodules`, landed: ".gitmodules"},
		{name: ".gitmodules is a link", script: "ln -s /etc/passwd .gitmodules", want: "follows none"},
		{name: ".gitmodules is a link within", script: "echo x >m && ln -s m .GITMODULES", want: "follows none"},
		{name: ".GIT", script: plant(".GIT"), want: "git directory"},
		{name: ".gIt deep down", script: plant("d/e/.gIt"), want: "git directory"},
		{name: "git~1", script: plant("git~1"), want: "git directory"},
		{name: "GIT~23", script: plant("x/GIT~23"), want: "git directory"},
		{name: "zero width", script: plant(".g\u200cit"), want: "git directory"},
		{name: "byte order mark", script: plant("\ufeff.git"), want: "git directory"},
		{name: "full width", script: plant("．ｇｉｔ"), want: "git directory"},
		{name: "mathematical", script: plant(".𝐠𝐢𝐭"), want: "git directory"},
		{name: "trailing space", script: plant(".git "), want: "git directory"},
		{name: "trailing dots", script: plant(".git . ."), want: "git directory"},
		{name: "stream", script: plant(".git::$INDEX_ALLOCATION"), want: "git directory"},
		{name: "backslashes", script: `echo x >'a\.git\hooks\x'`, want: "git directory"},
		{name: "backslashes upwards", script: `echo x >'..\..\evil'`, want: "leads out"},
		{name: "absolute link", script: "ln -s OUTSIDE out", want: "absolute path"},
		{name: "link upwards", script: "ln -s ../../../outside out", want: "out of the project"},
		{name: "link under a link", script: "mkdir d2 && ln -s .. d2/up && ln -s d2/up/../../outside out", want: "out of the project"},
		{name: "link through the user's own", script: "ln -s own/../../outside out", want: "out of the project"},
		{name: "link into .git", script: "ln -s .git/hooks out", want: "git directory"},
		{name: "link into .Git, from below", script: "mkdir q && ln -s ../.Git/config q/out", want: "git directory"},
		{name: "directory becomes a link", script: "rm -r d && ln -s OUTSIDE d", want: "absolute path"},
		{name: "file becomes a link, and what lay beside it goes below", script: "rm a && ln -s d a && rm d/b && echo x >d/b", landed: "d/b"},
		{name: "links in a circle", script: "ln -s y x && ln -s x y", want: "circle"},
		{name: "link with a control character", script: "ln -s \"$(printf 'd/\\033]0;x\\007')\" out", landed: "out"},
		{name: "FIFO in place of a file", script: "rm a && mkfifo a", want: "a device, a FIFO or a socket"},
		{name: "names", script: `n=$(printf 'x\ny\033[2Jz'); echo 1 >"$n"; n=$(printf '\377\376bad'); echo 2 >"$n"; echo 3 >-rf; echo 4 >'a"b'; echo 5 >' lead'; echo 6 >'trail '`, landed: "-rf"},
		{name: "longest name, deep tree", script: `n=$(head -c 255 /dev/zero | tr '\0' n); echo x >$n; d=$(yes d | head -n 200 | tr '\n' /); mkdir -p $d; echo x >$d/f`},
		{name: "larger than anything", script: "truncate -s 8G big", want: "too large"},
		{name: "attributes for everything", script: "echo '* text eol=crlf ident working-tree-encoding=UTF-16 export-subst whitespace=-all diff=evil' >.gitattributes; printf 'x\\r\\n$Id$\\n' >a", landed: "a"},
		{name: "attributes in place of a file", script: "rm a; mkdir a; echo '* filter=x' >a/.gitattributes", landed: "a/.gitattributes"},
		{name: "patterns that take for ever", script: `for i in 1 2 3 4 5; do printf '%s\n' '*a*a*a*a*a*a*a*a*a*a*a*a*a*b' '[a-z]*/**/**/**/**/x'; done >.gitignore; mkdir p; touch p/$(head -c 200 /dev/zero | tr '\0' a)`, landed: ".gitignore"},
		{name: "bare repository as a directory", script: "mkdir -p e/objects e/refs && echo 'ref: refs/heads/x' >e/HEAD && printf '[core]\n\tbare = false\n\tworktree = ..\n\tfsmonitor = CANARY\n' >e/config && touch e/refs/x e/objects/x", landed: "e/config"},
		{name: "setuid", script: "echo x >s && chmod 6777 s", landed: "s"},
		{name: "thousands of files", script: "mkdir many && cd many && seq 1500 | xargs touch", landed: "many/1"},
		{name: "lists ..", lie: listing(GuestFile{Path: "../evil"}), want: "no possible name"},
		{name: "lists an absolute name", lie: listing(GuestFile{Path: "/etc/evil"}), want: "no possible name"},
		{name: "lists a climb", lie: listing(GuestFile{Path: "a/../../evil"}), want: "no possible name"},
		{name: "lists twice", lie: listing(GuestFile{Path: "a"}), want: "no possible name"},
		{name: "lists below a file", lie: listing(GuestFile{Path: "a/b"}), want: "which is a file"},
		{name: "lists below a link", lie: listing(GuestFile{Path: "own/b"}), want: "which is a file"},
		{name: "lists a NUL", lie: listing(GuestFile{Path: "x\x00y"}), want: "no possible name"},
		{name: "lists a negative size", lie: listing(GuestFile{Path: "x", Size: -1}), want: "no possible name"},
		{name: "lists a link to nothing", lie: listing(GuestFile{Path: "x", Kind: KindLink}), want: "no link can say"},
		{name: "lists without end", lie: func(g Guest) Guest { return &liar{Guest: g, endless: true} }, want: "more than"},
		{name: "sends what was not asked for", script: "echo changed >a", lie: sending(tar.Header{Name: "../evil", Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}), want: "not asked for"},
		{name: "sends a link", script: "echo changed >a", lie: sending(tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc"}), want: "not asked for"},
		{name: "sends nothing", script: "echo changed >a", lie: func(g Guest) Guest { return &liar{Guest: g, raw: []byte{}} }},
		{name: "sends rubbish", script: "echo changed >a", lie: func(g Guest) Guest { return &liar{Guest: g, raw: []byte(strings.Repeat("rubbish ", 1000))} }, want: "invalid tar header"},
		{name: "hashes too many", lie: func(g Guest) Guest { return &liar{Guest: g, hashes: 1000} }, want: "answered for"},
		{name: "hashes lies", script: "echo xxx >a", lie: func(g Guest) Guest { return &liar{Guest: g, hashes: -1} }, want: "", landed: ""},
	}
}

// liar is a guest whose agent says what its owner wants.
type liar struct {
	Guest
	extra   []GuestFile
	endless bool
	send    *tar.Header
	raw     []byte
	hashes  int // how many too many; -1 for nonsense
}

func listing(f GuestFile) func(Guest) Guest {
	return func(g Guest) Guest { return &liar{Guest: g, extra: []GuestFile{f}} }
}

func sending(h tar.Header) func(Guest) Guest {
	return func(g Guest) Guest { return &liar{Guest: g, send: &h} }
}

func (l *liar) List(ctx context.Context, root string, visit func(GuestFile) error) error {
	if err := l.Guest.List(ctx, root, visit); err != nil {
		return err
	}
	for i := 0; l.endless; i++ {
		if err := visit(GuestFile{Path: fmt.Sprintf("x%d", i)}); err != nil {
			return err
		}
	}
	for _, f := range l.extra {
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

func (l *liar) Hash(ctx context.Context, root, format string, paths []string) ([]string, error) {
	all, err := l.Guest.Hash(ctx, root, format, paths)
	switch {
	case l.hashes > 0:
		return append(all, make([]string, l.hashes)...), err
	case l.hashes < 0:
		for i := range all {
			all[i] = "'; touch evil; \x00\n" + all[i]
		}
	}
	return all, err
}

func (l *liar) Read(ctx context.Context, root string, paths []string, w io.Writer) error {
	switch {
	case l.raw != nil:
		_, err := w.Write(l.raw)
		return err
	case l.send != nil:
		out := tar.NewWriter(w)
		if err := out.WriteHeader(l.send); err != nil {
			return err
		}
		if l.send.Size > 0 {
			if _, err := out.Write(make([]byte, l.send.Size)); err != nil {
				return err
			}
		}
		return out.Close()
	}
	return l.Guest.Read(ctx, root, paths, w)
}

// TestHostileRepositories takes repositories back that want to run or write something on the host.
func TestHostileRepositories(t *testing.T) {
	t.Parallel()
	all := hostiles()
	touched := make(chan string, len(all))
	t.Cleanup(func() {
		close(touched)
		n := 0
		for what := range touched {
			n++
			t.Error("canary touched: " + what)
		}
		fmt.Fprintf(os.Stderr, "workspace: %d hostile repositories came back, %d canaries were touched\n", len(all), n)
	})
	for _, h := range all {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			if what := comesBack(t, h); what != "" {
				touched <- h.name + ": " + what
			}
		})
	}
}

// comesBack takes one repository back and returns what it reached outside of the project.
func comesBack(t *testing.T, h hostile) string {
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, filepath.Join(outside, "canary"), "untouched\n")
	alarm := filepath.Join(outside, "alarm")
	write(t, alarm, "#!/bin/sh\necho touched >>"+filepath.Join(outside, "canary")+"\n")
	if err := os.Chmod(alarm, 0o755); err != nil {
		t.Fatal(err)
	}
	host := repo(t, `echo one >a; mkdir d; echo two >d/b; ln -s d own; git add . && git commit -qm first`)
	tr := copyIn(t, host, Options{})
	before := fingerprintOf(t, filepath.Join(host, ".git"))
	canary := fingerprintOf(t, outside)
	parent, err := os.ReadDir(filepath.Dir(host))
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tr.inside, strings.NewReplacer("CANARY", alarm, "OUTSIDE", outside).Replace(h.script+"\n:"))
	var g Guest = tr.guest
	if h.lie != nil {
		g = h.lie(g)
	}
	var said strings.Builder
	var review Review
	derr := tr.w.Diff(t.Context(), g, FetchOptions{}, model.Discard, func(r Review) error { review = r; return nil }, io.Discard)
	_, aerr := tr.w.Apply(t.Context(), g, FetchOptions{}, tr.journal(), tr.commit, model.Discard)
	fmt.Fprintln(&said, derr, aerr)
	for _, p := range append(review.Refused, review.Left...) {
		fmt.Fprintln(&said, p.Path, p.Why)
	}
	if !strings.Contains(said.String(), h.want) {
		t.Errorf("%q is not in: %s", h.want, said.String())
	}
	switch {
	case len(review.Refused) > 0 && aerr == nil:
		t.Error("refused files were no error")
	case len(review.Refused) > 0:
		if _, err := tr.w.Apply(t.Context(), g, FetchOptions{SkipRefused: true}, tr.journal(), tr.commit, model.Discard); err != nil {
			t.Errorf("without what is refused: %v", err)
		}
	case h.want == "" && aerr != nil:
		t.Error(aerr)
	}
	if h.landed != "" {
		if _, err := os.Lstat(filepath.Join(host, h.landed)); err != nil {
			t.Error(err)
		}
	}
	if now := fingerprintOf(t, filepath.Join(host, ".git")); now != before {
		return "the project's .git: " + now
	}
	// What anybody does next in the project.
	sh(t, host, "for c in status diff 'add -A' 'stash -q' 'stash pop -q'; do git $c >/dev/null 2>&1 || :; done")
	if _, err := os.Stat(tr.journal()); err == nil {
		t.Error("a journal is left")
	}
	if left, _ := os.ReadDir(tr.scratch); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if now, _ := os.ReadDir(filepath.Dir(host)); len(now) != len(parent) {
		return fmt.Sprintf("there is something beside the project: %v", now)
	}
	if now := fingerprintOf(t, outside); now != canary {
		return "changed:\n" + now
	}
	return ""
}

// TestCanaries proves that what the hostile repositories do reaches the canary where git is run in them.
func TestCanaries(t *testing.T) {
	t.Parallel()
	canary := filepath.Join(t.TempDir(), "canary")
	for name, script := range map[string]string{
		"fsmonitor": "git config core.fsmonitor 'touch CANARY; false' && git status",
		"filter":    "git config filter.x.clean 'touch CANARY; cat' && echo '* filter=x' >.gitattributes && echo changed >a && git add a",
		"external":  "git config diff.external 'touch CANARY; :' && echo changed >a && git diff",
		"hook":      "mkdir -p .git/hooks && printf '#!/bin/sh\ntouch CANARY\n' >.git/hooks/post-checkout && chmod +x .git/hooks/post-checkout && git checkout -q -f HEAD~0",
	} {
		host := repo(t, "echo one >a; git add . && git commit -qm first")
		sh(t, host, strings.ReplaceAll(script, "CANARY", canary)+" >/dev/null 2>&1 || :")
		if _, err := os.Stat(canary); err != nil {
			t.Errorf("%s touches no canary", name)
		}
		os.Remove(canary)
	}
}
