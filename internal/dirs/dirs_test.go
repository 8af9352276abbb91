package dirs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/testenv"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	got, err := Find(env("HOME", "/home/u", "XDG_CACHE_HOME", "/big"))
	want := Dirs{State: "/home/u/.local/state/banger", Data: "/home/u/.local/share/banger", Cache: "/big/banger", Config: "/home/u/.config/banger"}
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []func(string) string{env(), env("HOME", "relative"), env("HOME", "/h", "XDG_STATE_HOME", "x")} {
		if _, err := Find(bad); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("got %v, want ErrInvalid", err)
		}
	}
}

func fresh(t *testing.T) Dirs {
	base := t.TempDir()
	return Dirs{
		State: filepath.Join(base, "s/banger"), Data: filepath.Join(base, "d/banger"),
		Cache: filepath.Join(base, "c/banger"), Config: filepath.Join(base, "x/banger"),
	}
}

func TestSecureMakesAndKeeps(t *testing.T) {
	t.Parallel()
	d := fresh(t)
	if err := d.CheckState(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
	for range 2 {
		if err := d.Secure(); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{d.State, filepath.Dir(d.State), d.VMs(), d.Data, d.Cache} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v; want mode 0700", dir, info, err)
		}
	}
	if _, err := os.Stat(d.Config); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the configuration directory is the user's to make")
	}
}

func TestSecureRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, d Dirs) error
		says  string
	}{
		{"state readable by group", func(_ *testing.T, d Dirs) error { return os.Chmod(d.State, 0o750) }, "chmod 700 "},
		{"state open to others", func(_ *testing.T, d Dirs) error { return os.Chmod(d.State, 0o701) }, "chmod 700 "},
		{"data writable by others", func(_ *testing.T, d Dirs) error { return os.Chmod(d.Data, 0o777) }, "chmod 700 "},
		{"state is a link", func(_ *testing.T, d Dirs) error {
			return errors.Join(os.Rename(d.State, d.State+".real"), os.Symlink(d.State+".real", d.State))
		}, "XDG_STATE_HOME"},
		{"state is foreign", func(t *testing.T, d Dirs) error {
			testenv.NeedRoot(t)
			return os.Chown(d.State, 65534, 65534)
		}, "chown -R 0 "},
		{"cache is foreign", func(t *testing.T, d Dirs) error {
			testenv.NeedRoot(t)
			return os.Chown(d.Cache, 65534, 65534)
		}, "chown -R 0 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := fresh(t)
			if err := d.Secure(); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(t, d); err != nil {
				t.Fatal(err)
			}
			err := d.Secure()
			if !errors.Is(err, model.ErrDenied) || !strings.HasPrefix(err.Error(), "cannot ") || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an ErrDenied that says %q", err, c.says)
			}
		})
	}
}

func TestSecureLetsDataBeALink(t *testing.T) {
	t.Parallel()
	d := fresh(t)
	big := t.TempDir()
	if err := errors.Join(os.Chmod(big, 0o755), os.MkdirAll(filepath.Dir(d.Data), 0o700), os.Symlink(big, d.Data)); err != nil {
		t.Fatal(err)
	}
	if err := d.Secure(); err != nil {
		t.Error(err)
	}
}

func TestInstance(t *testing.T) {
	t.Parallel()
	d := fresh(t)
	if err := d.Secure(); err != nil {
		t.Fatal(err)
	}
	first, err := d.Instance()
	if err != nil || !first.Valid() {
		t.Fatalf("%q, %v", first, err)
	}
	if again, err := d.Instance(); err != nil || again != first {
		t.Errorf("%q, %v; want %q again", again, err, first)
	}
	for _, bad := range []string{"", "null", strings.ToUpper(string(first))} {
		if err := os.WriteFile(d.InstanceFile(), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Instance(); !errors.Is(err, model.ErrCorrupt) {
			t.Errorf("%q: got %v, want ErrCorrupt", bad, err)
		}
	}
}
