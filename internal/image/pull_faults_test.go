package image

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/google/go-containerregistry/pkg/authn"

	"banger/internal/image/imagetest"
	"banger/internal/model"
	"banger/internal/testenv"
)

// TestPullThroughTrouble is of what a pull gets over by itself.
func TestPullThroughTrouble(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	login := authn.Basic{Username: "u", Password: "p"}
	for name, c := range map[string]struct {
		fault imagetest.Fault
		auth  authn.Authenticator
	}{
		"broken off":                {fault: imagetest.Fault{CutAfter: 30_000, Cuts: 12}},
		"broken off without ranges": {fault: imagetest.Fault{CutAfter: 60_000, Cuts: 3, NoRanges: true}},
		"asked too often":           {fault: imagetest.Fault{Busy: 3}},
		"ill":                       {fault: imagetest.Fault{Broken: 3}},
		"without HEAD":              {fault: imagetest.Fault{NoHead: true}},
		"basic login":               {fault: imagetest.Fault{User: "u", Password: "p"}, auth: &login},
		"token":                     {fault: imagetest.Fault{User: "u", Password: "p", Token: true}, auth: &login},
		"slow":                      {fault: imagetest.Fault{Pause: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t)
			ref := r.Push("a:1", twoLayers(1))
			r.Misbehave(c.fault)
			b := newBench(t, fakeRecipe{})
			if c.auth != nil {
				b.keychain = keychain{c.auth}
			}
			i, err := b.pull(t, ref)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.VerifyContent(t.Context(), i.Digest); err != nil {
				t.Error(err)
			}
			if left := b.traces(t); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

type keychain struct{ authn.Authenticator }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) { return k.Authenticator, nil }

// TestPullFails is of what a pull cannot get over: each with its kind, a message that helps, and nothing left.
func TestPullFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault imagetest.Fault
		ref   string // instead of the one that is there
		kind  error
		want  string
	}{
		"no such tag":      {ref: "a:none", kind: model.ErrNotFound, want: "no such image"},
		"no such image":    {ref: "none:1", kind: model.ErrNotFound, want: "look at the name"},
		"no login":         {fault: imagetest.Fault{User: "u", Password: "p"}, kind: model.ErrDenied, want: "docker login"},
		"no token":         {fault: imagetest.Fault{User: "u", Password: "p", Token: true}, kind: model.ErrDenied, want: "docker login"},
		"a lie":            {fault: imagetest.Fault{Lie: true}, kind: model.ErrCorrupt, want: "nothing of it was kept"},
		"more than told":   {fault: imagetest.Fault{Longer: true}, kind: model.ErrCorrupt, want: "more than the"},
		"always cut":       {fault: imagetest.Fault{CutAfter: 100, Cuts: -1, NoRanges: true}, kind: model.ErrUnavailable, want: "broke off"},
		"huge manifest":    {fault: imagetest.Fault{HugeManifest: 5 << 20}, kind: model.ErrInvalid, want: "4 MiB"},
		"no manifest":      {fault: imagetest.Fault{HugeManifest: 1}, kind: model.ErrUnsupported, want: "no image"},
		"always busy":      {fault: imagetest.Fault{Busy: -1}, kind: model.ErrUnavailable, want: "too often"},
		"always ill":       {fault: imagetest.Fault{Broken: -1}, kind: model.ErrUnavailable, want: "500"},
		"an odd reference": {ref: "A B", kind: model.ErrInvalid, want: "cannot be an image name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t)
			ref := r.Push("a:1", twoLayers(1))
			if c.ref != "" {
				ref = r.Host + "/" + c.ref
			}
			r.Misbehave(c.fault)
			b := newBench(t, fakeRecipe{})
			_, err := b.pull(t, ref)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v (kind %v)", err, model.KindOf(err))
			}
			if left := append(b.left(t), b.traces(t)...); len(left) != 0 {
				t.Errorf("left %v", left)
			}
			if all, _ := b.Images(t.Context()); len(all) != 0 {
				t.Errorf("images: %v", all)
			}
		})
	}
}

func TestPullFromNobody(t *testing.T) {
	t.Parallel()
	b := newBench(t, fakeRecipe{})
	closed := imagetest.NewRegistry()
	closed.Close()
	if _, err := b.pull(t, closed.Host+"/a:1"); !errors.Is(err, model.ErrUnavailable) || !strings.Contains(err.Error(), "nobody answers") {
		t.Errorf("closed: %v", err)
	}
	if _, err := b.pull(t, "no-such-host.invalid/a:1"); !errors.Is(err, model.ErrUnavailable) || !strings.Contains(err.Error(), "no-such-host.invalid") {
		t.Errorf("no host: %v", err)
	}
}

func TestPullNeedsTrust(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	r := imagetest.NewTLSRegistry()
	t.Cleanup(r.Close)
	ref := r.Push("a:1", twoLayers(1))
	// A name of this host for which no plain HTTP is tried: the certificate's.
	named := strings.Replace(ref, "127.0.0.1", "[::ffff:127.0.0.1]", 1)
	b := newBench(t, fakeRecipe{})
	if _, err := b.pull(t, named); !errors.Is(err, model.ErrDenied) || !strings.Contains(err.Error(), "--insecure") || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate: %v", err)
	}
	if _, err := b.Pull(t.Context(), Want{Ref: named, Policy: PullAlways, Insecure: true}, model.Discard); err != nil {
		t.Errorf("with --insecure: %v", err)
	}
	// On this host plain HTTP is tried next; what that answers is not the point.
	untrusted := newBench(t, fakeRecipe{})
	untrusted.certDirs = []string{t.TempDir(), filepath.Join(t.TempDir(), "missing")}
	ca := filepath.Join(untrusted.certDirs[0], r.Host, "ca.crt")
	if _, err := untrusted.pull(t, ref); !errors.Is(err, model.ErrDenied) || !strings.Contains(err.Error(), ca+", or, ") || !strings.Contains(err.Error(), "--insecure") {
		t.Errorf("an unknown certificate on this host: %v", err)
	}
	if err := os.Mkdir(filepath.Dir(ca), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []struct{ text, want string }{{"nonsense", "no certificate in " + ca}, {strings.Repeat("x", 2<<20), "more than"}} {
		if err := os.WriteFile(ca, []byte(file.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := untrusted.pull(t, ref); !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), file.want) {
			t.Errorf("an authority that is none: %v", err)
		}
	}
	if err := os.WriteFile(ca, r.CertificatePEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := untrusted.pull(t, ref); err != nil {
		t.Errorf("with its authority: %v", err)
	}
	plain := newRegistry(t)
	far := strings.Replace(plain.Push("a:1", twoLayers(1)), "127.0.0.1", "[::ffff:127.0.0.1]", 1)
	if _, err := b.pull(t, far); !errors.Is(err, model.ErrDenied) || !strings.Contains(err.Error(), "--insecure") || !strings.Contains(err.Error(), "plain HTTP") {
		t.Errorf("plain HTTP: %v", err)
	}
}

// TestFullDisk is of a disk that fills up while layers are fetched, and while the file system is written.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	needFinishing(t)
	r := newRegistry(t)
	several := r.Push("a:1", twoLayers(1))
	one := r.Push("b:1", imagetest.Image(v1.Config{}, imagetest.Tar(imagetest.File{Name: "f", Content: filler(400_000, 1)})))
	for name, c := range map[string]struct {
		ref  string
		size int64
		want string // what was being made
	}{
		"for the layers":      {several, 300 << 10, "layers/"},
		"for the file system": {one, 600 << 10, rootFile},
		"for its end":         {one, 864 << 10, "on the new file system"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ref := c.ref
			dir := testenv.SmallDisk(t, c.size)
			b := benchOver(Dirs{Data: filepath.Join(dir, "data"), Cache: filepath.Join(dir, "cache")}, os.Args[0], fakeRecipe{})
			_, err := b.pull(t, ref)
			if !errors.Is(err, model.ErrNoSpace) || !strings.Contains(err.Error(), "banger image prune, and pull "+ref+" again") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			if left := append(b.left(t), b.traces(t)...); len(left) != 0 {
				t.Errorf("left %v", left)
			}
			if _, err := b.Prune(t.Context(), true, false); err != nil {
				t.Errorf("prune: %v", err)
			}
		})
	}
}
