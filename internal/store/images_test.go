package store

import (
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"banger/internal/model"
)

func TestOCIImageComesBackAsItWas(t *testing.T) {
	t.Parallel()
	s := open(t)
	image := model.Image{
		Digest: digest(3), Name: "a", Tags: []string{"a", "b:1"}, Arch: "amd64", Platform: "linux/amd64", Source: "pulled",
		Reference: "b@sha256:x", Manifest: digest(8), Init: model.InitAgent, Entrypoint: []string{"/e", ""}, Cmd: []string{"c d"},
		Env: []string{"A=b"}, Workdir: "/w", User: "u:g", StopSignal: "SIGQUIT", Labels: map[string]string{"k": "v\n"},
		SizeBytes: 7, DiskBytes: 5, CreatedAt: moment,
	}
	if err := s.InsertImage(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	all, err := s.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(image, all[0]); diff != "" {
		t.Error(diff)
	}
}

func TestAnImageUnderAnotherNameStaysFromWhereItWas(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	first := model.Image{Digest: digest(3), Name: "a:1", Source: "pulled", Reference: "a@sha256:x", Manifest: digest(8), CreatedAt: moment}
	second := model.Image{Digest: digest(3), Name: "mine", Source: "import of file", Manifest: digest(9), CreatedAt: moment.Add(1)}
	if err := errors.Join(s.InsertImage(ctx, first), s.InsertImage(ctx, second)); err != nil {
		t.Fatal(err)
	}
	get := func() model.Image {
		t.Helper()
		all, err := s.Images(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return all[slices.IndexFunc(all, func(i model.Image) bool { return i.Digest == digest(3) })]
	}
	if i := get(); i.Source != "pulled" || i.Reference != first.Reference || i.Manifest != first.Manifest || !i.CreatedAt.Equal(moment) {
		t.Errorf("%+v", i)
	}
	if err := errors.Join(s.UnnameImage(ctx, "a:1"), s.InsertImage(ctx, second)); err != nil {
		t.Fatal(err)
	}
	if i := get(); i.Source != "import of file" || i.Reference != "" || !i.CreatedAt.Equal(second.CreatedAt) {
		t.Errorf("under its only name: %+v", i)
	}
}

func TestImageNames(t *testing.T) {
	t.Parallel()
	s := open(t) // with the image 1, called debian
	ctx := t.Context()
	named := func(d model.Digest) []string {
		t.Helper()
		all, err := s.Images(ctx)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(all, func(i model.Image) bool { return i.Digest == d })
		if at < 0 {
			t.Fatalf("no image %s", d)
		}
		if first := append(slices.Clone(all[at].Tags), "")[0]; all[at].Name != first {
			t.Errorf("it is called %q, its names are %q", all[at].Name, all[at].Tags)
		}
		return all[at].Tags
	}
	err := errors.Join(
		s.InsertImage(ctx, model.Image{Digest: digest(5), Name: "x"}), s.NameImage(ctx, "y", digest(5)), s.NameImage(ctx, "a", digest(5)),
		s.NameImage(ctx, "a", digest(5)), s.NameImage(ctx, "also", digest(1)),
	)
	if err != nil {
		t.Fatal(err)
	}
	if got := named(digest(5)); !slices.Equal(got, []string{"x", "y", "a"}) {
		t.Errorf("%q", got)
	}
	if err := errors.Join(s.NameImage(ctx, "x", digest(1)), s.UnnameImage(ctx, "y"), s.UnnameImage(ctx, "none")); err != nil {
		t.Fatal(err)
	}
	if got, other := named(digest(5)), named(digest(1)); !slices.Equal(got, []string{"a"}) || !slices.Equal(other, []string{"debian", "also", "x"}) {
		t.Errorf("%q, %q", got, other)
	}
	wantKind(t, s.NameImage(ctx, "z", digest(9)), model.ErrNotFound)
	// Described anew it keeps its names, and with the image they go.
	if err := errors.Join(s.InsertImage(ctx, model.Image{Digest: digest(5), Name: "new"}), s.DeleteImage(ctx, digest(5)), s.InsertImage(ctx, model.Image{Digest: digest(5)})); err != nil {
		t.Fatal(err)
	}
	if got := named(digest(5)); len(got) != 0 {
		t.Errorf("names outlived their image: %q", got)
	}
}

func TestUsedImages(t *testing.T) {
	t.Parallel()
	s := open(t)
	if used, err := s.UsedImages(t.Context()); err != nil || len(used) != 0 {
		t.Errorf("%v, %v", used, err)
	}
	create(t, s, "a")
	create(t, s, "b")
	if used, err := s.UsedImages(t.Context()); err != nil || len(used) != 1 || !used[digest(1)] {
		t.Errorf("%v, %v", used, err)
	}
}

func TestDefaultImage(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, name := range []string{"a", "b:1", ""} {
		if err := s.SetDefaultImage(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if got, err := s.DefaultImage(t.Context()); err != nil || got != name {
			t.Errorf("%q, %v; want %q", got, err, name)
		}
	}
}

// TestImagesOfTheFirstSchema opens a database as the first release left it.
func TestImagesOfTheFirstSchema(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "banger.db")
	script, err := migrations.ReadFile("migrations/1.sql")
	if err != nil {
		t.Fatal(err)
	}
	old, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	insert := `INSERT INTO images VALUES (?, ?, 'amd64', 's', 'systemd', '/sbin/init', '["A=b"]', '', 'root', 7, 5, 1)`
	for _, step := range []struct {
		query string
		args  []any
	}{
		{`PRAGMA application_id = 1650552423`, nil}, {string(script), nil}, {`PRAGMA user_version = 1`, nil},
		{insert, []any{digest(1), "debian"}}, {insert, []any{digest(2), ""}},
		{`INSERT INTO kernels VALUES (?, 'k', 'amd64', '6', 's', '[]', 1, 1)`, []any{digest(3)}},
		{`INSERT INTO vms (id, name, slot, spec, image, kernel, vmm, root_disk, network, state, created_at) VALUES ('v', 'box', 1, '{}', ?, ?, 'q', 'q', 'n', 'stopped', 1)`, []any{digest(2), digest(3)}},
	} {
		if _, err := old.ExecContext(t.Context(), step.query, step.args...); err != nil {
			t.Fatalf("%s: %v", step.query, err)
		}
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all, err := s.Images(t.Context())
	if err != nil || len(all) != 2 || all[0].Digest != digest(2) || all[0].Name != "" || all[1].Name != "debian" || !slices.Equal(all[1].Tags, []string{"debian"}) ||
		all[1].Platform != "linux/amd64" || !slices.Equal(all[1].Env, []string{"A=b"}) || all[1].Labels != nil {
		t.Errorf("%+v, %v", all, err)
	}
	wantKind(t, s.DeleteImage(t.Context(), digest(2)), model.ErrState)
	if err := s.DeleteImage(t.Context(), digest(1)); err != nil {
		t.Error(err)
	}
}
