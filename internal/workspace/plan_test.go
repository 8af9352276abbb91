package workspace

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
)

func planOf(t *testing.T, host string, o Options) *Plan {
	t.Helper()
	p, err := NewPlan(t.Context(), t.TempDir(), host, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// names lists what goes in, and behind a bar what is left out.
func names(p *Plan) string {
	var in, out []string
	for _, f := range p.Files {
		in = append(in, f.Path)
	}
	for _, l := range p.Left {
		out = append(out, l.Path)
	}
	return strings.Join(in, " ") + " | " + strings.Join(out, " ")
}

func TestWhatGoesIn(t *testing.T) {
	t.Parallel()
	plain := func(script string) func(t testing.TB) string {
		return func(t testing.TB) string {
			dir := t.TempDir()
			sh(t, dir, script)
			return dir
		}
	}
	git := func(script string) func(t testing.TB) string {
		return func(t testing.TB) string { return repo(t, script) }
	}
	commit := "; git add -A -f && git commit -qm x"
	for name, c := range map[string]struct {
		make func(t testing.TB) string
		o    Options
		want string
	}{
		"tracked files only":           {git("touch a; git add a; git commit -qm x; touch b"), Options{}, "a | "},
		"untracked ones when asked":    {git("touch a; git add a; git commit -qm x; touch b c; echo c >.gitignore"), Options{IncludeUntracked: true}, ".gitignore a b | "},
		"secrets are left out":         {git("mkdir .ssh k; touch .env .env.local .env.example a.pem k/server.key .ssh/config id_rsa id_rsa.pub .netrc" + commit), Options{}, ".env.example id_rsa.pub | .env .env.local .netrc .ssh/config a.pem id_rsa k/server.key"},
		"unless they are wanted":       {git("touch .env a.pem" + commit), Options{IncludeSecrets: true}, ".env a.pem | "},
		"untracked secrets too":        {git("touch a" + commit + "; touch .env"), Options{IncludeUntracked: true}, "a | .env"},
		"tokens of package managers":   {git("mkdir s; echo '//r/:_authToken=x' >.npmrc; echo registry=x >s/.npmrc" + commit), Options{}, "s/.npmrc | .npmrc"},
		".bangerignore":                {git("mkdir big d; touch big/x d/a.log d/b keep.log; printf 'big/\\n*.log\\n!keep.log\\n' >.bangerignore" + commit), Options{}, ".bangerignore d/b keep.log | big/x d/a.log"},
		".bangerignore deeper down":    {git("mkdir d; touch d/x x; echo x >d/.bangerignore" + commit), Options{}, "d/.bangerignore x | d/x"},
		".bangerignore, untracked":     {git("touch a" + commit + "; touch n m; echo n >.bangerignore"), Options{IncludeUntracked: true}, ".bangerignore a m | n"},
		"deleted ones are":             {git("touch a b" + commit + "; rm b"), Options{}, "a | "},
		"new ones in the index":        {git("touch a" + commit + "; touch b; git add b"), Options{}, "a b | "},
		"a branch without a commit":    {git("touch a b; git add a"), Options{}, "a | "},
		"a conflict":                   {git("echo 1 >a" + commit + "; git checkout -q -b o; echo 2 >a; git commit -qam o; git checkout -q main; echo 3 >a; git commit -qam m; git merge o >/dev/null || :"), Options{}, "a | "},
		"below a link that was a dir":  {git("mkdir d; touch d/x" + commit + "; rm -r d; ln -s /etc d"), Options{}, " | "},
		"a submodule's files":          {git("git init -q -b m s && (cd s && touch f g && git add f && git commit -qm s) && git -c protocol.file.allow=always submodule -q add ./s s 2>/dev/null; touch a" + commit), Options{}, ".gitmodules a s/f | "},
		"a submodule not checked out":  {git("git init -q -b m s && (cd s && touch f && git add f && git commit -qm s) && git add s && git commit -qm x; rm -rf s; mkdir s"), Options{}, " | s"},
		"FIFOs are left out":           {git("touch a b" + commit + "; rm b; mkfifo b"), Options{}, "a | b"},
		"a plain directory":            {plain("mkdir d b; touch a d/x d/x.o b/y .env; echo '*.o' >.gitignore; echo b >.bangerignore"), Options{}, ".bangerignore .gitignore a d/x | .env b/y"},
		"a repository in a directory":  {plain("touch a; git init -q r; touch r/t r/u; git -C r add t"), Options{}, "a r/t | "},
		"an empty directory":           {plain(":"), Options{}, " | "},
		"a sparse checkout":            {git("mkdir d e; touch d/x e/y" + commit + "; git sparse-checkout set d >/dev/null 2>&1"), Options{}, "d/x | "},
		"the files of a commit":        {git("touch a .env" + commit + "; git rm -q a; touch b" + commit), Options{Branch: "n", From: "HEAD~1"}, "a | .env"},
		".bangerignore of that commit": {git("touch a b; echo b >.bangerignore" + commit + "; git rm -q .bangerignore; git commit -qm y"), Options{Branch: "n", From: "HEAD~1"}, ".bangerignore a | b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := c.make(t)
			before := fingerprintOf(t, host)
			if got := names(planOf(t, host, c.o)); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if fingerprintOf(t, host) != before {
				t.Error("the host's files changed")
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	host := repo(t, "mkdir sub; touch sub/f; git add . && git commit -qm x")
	file := filepath.Join(host, "file")
	write(t, file, "")
	broken := repo(t, "rm .git/HEAD")
	for name, c := range map[string]struct {
		path string
		o    Options
		want string
	}{
		"nothing there":            {filepath.Join(host, "no"), Options{}, "no such directory"},
		"a file":                   {file, Options{}, "not a directory"},
		"relative":                 {"x", Options{}, "absolute"},
		"inside a work tree":       {filepath.Join(host, "sub"), Options{}, "inside the git work tree"},
		"a git directory":          {filepath.Join(host, ".git"), Options{}, "git directory"},
		"a broken repository":      {broken, Options{}, "git cannot read"},
		"from without branch":      {host, Options{From: "HEAD"}, "--branch"},
		"no such revision":         {host, Options{From: "--output=x", Branch: "b"}, "no commit"},
		"a branch with ..":         {host, Options{Branch: "a..b"}, "name of a branch"},
		"a branch like an option":  {host, Options{Branch: "-x"}, "name of a branch"},
		"a branch of a plain one":  {t.TempDir(), Options{Branch: "x"}, "no git work tree"},
		"a history of minus three": {host, Options{History: -3}, "no depth"},
	} {
		_, err := NewPlan(t.Context(), t.TempDir(), c.path, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) || model.KindOf(err) == nil {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestNothingOfTheUsersRuns copies from a repository whose own configuration runs programs on nearly everything.
func TestNothingOfTheUsersRuns(t *testing.T) {
	t.Parallel()
	canary := filepath.Join(t.TempDir(), "canary")
	host := repo(t, "echo one >a; echo two >b; git add . && git commit -qm first; echo x >a")
	sh(t, host, strings.ReplaceAll(`printf '#!/bin/sh\ntouch CANARY\n' >.git/run; chmod +x .git/run
		for k in core.fsmonitor core.pager core.editor core.askPass core.sshCommand diff.external gpg.program uploadpack.packObjectsHook core.alternateRefsCommand filter.x.clean filter.x.smudge filter.x.process diff.x.textconv diff.x.command merge.x.driver; do git config $k "$PWD/.git/run"; done
		git config core.hooksPath "$PWD/.git/hooks"; mkdir -p .git/hooks
		for h in post-index-change pre-auto-gc reference-transaction post-checkout; do cp .git/run .git/hooks/$h; done
		git config pack.window 0; echo '* filter=x diff=x merge=x' >.git/info/attributes
		git config remote.o.url ext::CANARY; git config remote.o.promisor true; git config extensions.partialClone o; rm -f CANARY`, "CANARY", canary))
	before := fingerprintOf(t, host)
	tr := copyIn(t, host, Options{IncludeUntracked: true})
	write(t, filepath.Join(tr.inside, "a"), "from the guest\n")
	tr.diff(FetchOptions{BaseCommit: "HEAD"})
	_ = tr.w.Moved(t.Context())
	if after := fingerprintOf(t, host); after != before {
		t.Errorf("the host's files changed:\n%s", after)
	}
	if err := tr.apply(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(canary); err == nil {
		t.Error("something of the user's configuration was run")
	}
	if got := read(t, filepath.Join(host, "a")); got != "from the guest\n" {
		t.Errorf("a is %q", got)
	}
}

func TestTheGuestsRepository(t *testing.T) {
	t.Parallel()
	host := repo(t, `for i in 1 2 3 4 5; do echo $i >a; [ $i != 2 ] || echo hidden >.env; git add -A; git commit -qm "commit $i"; git tag v$i; done; git rm -q .env; git commit -qm six`)
	head := strings.TrimSpace(sh(t, host, "git rev-parse HEAD"))
	for name, c := range map[string]struct {
		before string
		o      Options
		want   string
	}{
		"shallow":          {"", Options{}, "1 main 5  true"},
		"two deep":         {"", Options{History: 2, IncludeSecrets: true}, "2 main 5  true"},
		"all":              {"", Options{History: model.FullHistory, IncludeSecrets: true}, "6 main 5  true"},
		"another branch":   {"", Options{Branch: "try/it"}, "1 try/it 5  true"},
		"from a tag":       {"", Options{Branch: "old", From: "v1"}, "1 old 1  false"},
		"detached":         {"git checkout -q --detach", Options{}, "1 HEAD 5  true"},
		"a secret tracked": {"git checkout -q -b s v3", Options{}, "1 s 3  false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "repo")
			sh(t, filepath.Dir(dir), "git clone -q '"+host+"' repo; cd repo; "+c.before)
			tr := copyIn(t, dir, c.o)
			got := sh(t, tr.inside, `printf '%s %s %s %s ' $(git log --oneline | wc -l) $(git rev-parse --abbrev-ref HEAD) $(cat a) "$(git status --porcelain)"; git fsck >/dev/null 2>&1; [ $(git rev-parse HEAD) = `+head+` ] && printf true || printf false`)
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if config := read(t, filepath.Join(tr.inside, ".git", "config")); strings.Contains(config, "remote") || strings.Contains(config, host) {
				t.Errorf("the configuration is:\n%s", config)
			}
			if !c.o.IncludeSecrets && strings.Contains(sh(t, tr.inside, "git log --all --name-only --format= ; git cat-file --batch-all-objects --batch --unordered | strings -n 4"), "hidden") {
				t.Error("the guest has the secret")
			}
		})
	}
	if _, err := NewPlan(t.Context(), t.TempDir(), host, Options{History: model.FullHistory}); err != nil {
		t.Fatal(err)
	}
	plan := planOf(t, host, Options{History: model.FullHistory})
	_, err := plan.Copy(t.Context(), filepath.Join(t.TempDir(), "s"), "x", discard{}, model.Discard)
	if err == nil || !strings.Contains(err.Error(), "looks like a secret") {
		t.Errorf("a history with a secret: %v", err)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func TestOddRepositories(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"sha256":            "cd ..; rm -rf repo; git init -q -b main --object-format=sha256 repo; cd repo; echo 1 >a; git add . && git commit -qm x",
		"another work tree": "cd ..; mv repo main; cd main; echo 1 >a; git add . && git commit -qm x; git worktree add -q ../repo",
		"its own shallow":   "echo 1 >a; git add . && git commit -qm 1; echo 2 >a; git commit -qam 2; cd ..; mv repo full; git clone -q --depth 1 file://$PWD/full repo",
		"borrowed objects":  "echo 1 >a; git add . && git commit -qm 1; cd ..; mv repo full; git clone -q -s full repo",
		"packed":            "echo 1 >a; git add . && git commit -qm 1; git gc -q; git pack-refs --all",
		"no commit":         "echo 1 >a; git add .",
		"replaced objects":  "echo 1 >a; git add . && git commit -qm 1; echo 2 >a; git commit -qam 2; git replace HEAD HEAD~1",
		"a signature":       `echo 1 >a; git add . && git commit -qm 1; git cat-file commit HEAD | sed '/^committer/a gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----' | git hash-object -t commit -w --stdin | xargs git reset -q --hard; touch .env; git add -f .env; git commit -q --amend --no-edit`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := repo(t, script)
			tr := copyIn(t, host, Options{})
			sh(t, tr.inside, "git fsck; git status")
			write(t, filepath.Join(tr.inside, "a"), "changed\n")
			if err := tr.apply(); err != nil {
				t.Fatal(err)
			}
			if got := read(t, filepath.Join(host, "a")); got != "changed\n" {
				t.Errorf("a is %q", got)
			}
		})
	}
}

// TestLargeProjects makes the round trip with trees as large as real ones.
func TestACommitsSubmodulesAreNamed(t *testing.T) {
	t.Parallel()
	host := repo(t, "git init -q -b m s && (cd s && echo 1 >f && git add f && git commit -qm s) && git -c protocol.file.allow=always submodule -q add ./s s 2>/dev/null; git add -A; git commit -qm x")
	p := planOf(t, host, Options{Branch: "x", From: "HEAD"})
	if len(p.Left) != 1 || p.Left[0] != (LeftOut{"s", ReasonInCommit}) {
		t.Errorf("left out: %v", p.Left)
	}
	requireContains(t, strings.Join(p.Notes(), "\n"), `"s"`)
}

func TestLargeProjects(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		o      Options
	}{
		"2,000 files":      {`i=0; while [ $i -lt 2000 ]; do d=d$((i % 37))/e$((i % 11)); mkdir -p $d; echo "file $i" >$d/f$i; i=$((i + 1)); done; git add . && git commit -qm x`, Options{}},
		"odd names":        {`n=$(printf 'new\nline'); echo 1 >"$n"; n=$(printf 'bad\377utf8'); echo 2 >"$n"; echo 3 >-rf; echo 4 >'quo"te'; echo 5 >'back\slash'; echo 6 >' spaces '; echo 7 >'*'; echo 8 >':(top)x'; n=$(printf 'tab\there'); echo 9 >"$n"; echo 10 >'日本語'; mkdir -- '-d'; echo 11 >./-d/--; echo 12 >'a -> b'; : >empty; head -c 300000 /dev/urandom >binary; git add -A . && git commit -qm x`, Options{}},
		"50 MB of history": {`for i in $(seq 10); do head -c 5000000 /dev/urandom >big; echo $i >a; git add . && git commit -qm $i; done`, Options{History: model.FullHistory}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := repo(t, c.script)
			before := fingerprintOf(t, filepath.Join(host, ".git"))
			tr := copyIn(t, host, c.o)
			if got, want := contentsOf(t, tr.inside), contentsOf(t, host); got != want {
				t.Errorf("the guest has:\n%s\nthe host:\n%s", got, want)
			}
			if got := sh(t, tr.inside, "git status --porcelain"); got != "" {
				t.Errorf("the guest's status: %s", got)
			}
			if r, patch := tr.diff(FetchOptions{}); !r.Clean() || patch != "" {
				t.Errorf("something changed: %+v", r)
			}
			sh(t, tr.inside, `find . -path ./.git -prune -o -type f -exec sh -c 'for f; do echo more >>"$f"; done' _ {} +`)
			if err := tr.apply(); err != nil {
				t.Fatal(err)
			}
			if got, want := contentsOf(t, host), contentsOf(t, tr.inside); got != want {
				t.Errorf("the host has:\n%s\nthe guest:\n%s", got, want)
			}
			if _, err := tr.w.Undo(t.Context(), tr.undo, tr.journal(), tr.commit); err != nil {
				t.Fatal(err)
			}
			if after := fingerprintOf(t, filepath.Join(host, ".git")); after != before {
				t.Error("the host's repository changed")
			}
			if got := sh(t, host, "git status --porcelain"); got != "" {
				t.Errorf("after the undo: %s", got)
			}
			fmt.Fprintf(os.Stderr, "workspace: round trip of %s: %d files, %d bytes\n", name, tr.w.Base.Files, tr.w.Base.Bytes)
		})
	}
}

func contentsOf(t testing.TB, dir string) string {
	return sh(t, dir, `find . -path ./.git -prune -o ! -type d -printf '%p %y %m %l\n' | sort; find . -path ./.git -prune -o -type f -print0 | sort -z | xargs -0r sha256sum`)
}
