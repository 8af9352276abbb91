package workspace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCopyInGivesAGitRepositoryAndTouchesNothing(t *testing.T) {
	t.Parallel()
	host := repo(t, `printf 'one\n' >a; mkdir d; printf 'two\n' >d/b; ln -s a link; printf '#!/bin/sh\n' >run; chmod 755 run
		git add . && git commit -qm first && git commit -q --allow-empty -m second
		printf 'changed\n' >a; rm d/b; echo new >untracked`)
	before := fingerprintOf(t, host)
	tr := copyIn(t, host, Options{})
	if after := fingerprintOf(t, host); after != before {
		t.Errorf("the host's files changed:\n%s\nwere:\n%s", after, before)
	}
	if got := sh(t, tr.inside, "git status --porcelain && git log --format=%s && git symbolic-ref HEAD && git fsck"); got != " M a\n D d/b\nsecond\nrefs/heads/main\n" {
		t.Errorf("the guest sees:\n%s", got)
	}
	if got, want := sh(t, tr.inside, "git rev-parse HEAD"), sh(t, host, "git rev-parse HEAD"); got != want {
		t.Errorf("the guest's commit is %s, not %s", got, want)
	}
	if _, err := os.Lstat(filepath.Join(tr.inside, "untracked")); err == nil {
		t.Error("an untracked file was copied")
	}
	if tr.w.Moved(t.Context()) != "" {
		t.Error(tr.w.Moved(t.Context()))
	}
	write(t, filepath.Join(host, "a"), "changed again\n")
	requireContains(t, tr.w.Moved(t.Context()), "files have changed")
	sh(t, host, "git commit -qam third")
	requireContains(t, tr.w.Moved(t.Context()), "commit")
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	host := repo(t, `printf 'one\n' >a; mkdir d; printf 'two\n' >d/b; seq 100 >moved; printf '\000\001' >bin; printf x >gone
		ln -s a link; git add . && git commit -qm first`)
	tr := copyIn(t, host, Options{})
	if r, patch := tr.diff(FetchOptions{}); !r.Clean() || patch != "" {
		t.Fatalf("something changed: %+v %s", r, patch)
	}
	sh(t, tr.inside, `printf 'ONE\n' >a; git add a; git -c user.name=g -c user.email=g@g commit -qm 'in the guest'
		mkdir -p new/deep; printf n >new/deep/f; git mv moved renamed; printf '\000\002' >bin; rm gone; chmod +x d/b
		ln -sf d/b link; printf '*.o\n' >.gitignore; touch x.o`)
	r, patch := tr.diff(FetchOptions{})
	var got []string
	for _, c := range r.Changes {
		got = append(got, string(c.Status)+" "+c.Path)
	}
	want := "added .gitignore,modified a,modified bin,modified d/b,deleted gone,modified link,added new/deep/f,renamed renamed"
	if strings.Join(got, ",") != want || r.Ignored != 1 {
		t.Errorf("changes:\n%s\nwant:\n%s\nignored %d", strings.Join(got, ","), want, r.Ignored)
	}
	write(t, filepath.Join(tr.state, "p"), patch)
	other := filepath.Join(tr.state, "other")
	sh(t, tr.state, "git clone -q "+host+" other && cd other && git apply --check ../p && git apply ../p")
	if err := tr.apply(); err != nil {
		t.Fatal(err)
	}
	const list = `find . -path ./.git -prune -o -name '*.o' -prune -o ! -type d -printf '%p %y %m %l\n' | sort; find . -path ./.git -prune -o -type f ! -name '*.o' -print0 | sort -z | xargs -0 sha256sum`
	inside := sh(t, tr.inside, list)
	for name, dir := range map[string]string{"applied": host, "patched": other} {
		if got := sh(t, dir, list); got != inside {
			t.Errorf("%s:\n%s\nthe guest has:\n%s", name, got, inside)
		}
	}
	if r, _ := tr.diff(FetchOptions{}); !r.Clean() {
		t.Errorf("after the apply: %+v", r)
	}
	if tr.w.Moved(t.Context()) != "" {
		t.Error(tr.w.Moved(t.Context()))
	}
	if _, err := tr.w.Undo(t.Context(), tr.undo, tr.journal(), tr.commit); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, host, "git status --porcelain"); got != "" {
		t.Errorf("after the undo: %s", got)
	}
	if _, err := os.Stat(tr.journal()); err == nil {
		t.Error("a journal is left")
	}
}
