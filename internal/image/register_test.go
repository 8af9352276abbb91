package image

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/hosttool"
	"banger/internal/model"
)

func TestRegister(t *testing.T) {
	t.Parallel()
	tool, err := hosttool.Find("mke2fs", "e2fsprogs")
	if err != nil {
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "root.ext4")
	if out, err := exec.CommandContext(t.Context(), tool, "-q", "-t", "ext4", file, "64M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b := newBench(t, fakeRecipe{})
	i, err := b.Register(t.Context(), RegisterRequest{Name: "mine", Path: file}, model.Discard)
	if err != nil || i.Name != "mine" || i.Init != model.InitAgent || i.SizeBytes != 64<<20 || i.DiskBytes > 16<<20 {
		t.Fatalf("%+v, %v", i, err)
	}
	if err := b.VerifyContent(t.Context(), i.Digest); err != nil {
		t.Error(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(b.ImageFile(i.Digest))
	if err != nil || string(copied) != string(whole) {
		t.Errorf("the copy differs, %v", err)
	}
	// Again it is the same image; with another init it is another one, and the first stays what it was.
	again, err := b.Register(t.Context(), RegisterRequest{Name: "again", Path: file}, model.Discard)
	if err != nil || again.Digest != i.Digest || fmt.Sprint(again.Tags) != "[mine again]" {
		t.Errorf("again: %+v, %v", again, err)
	}
	sys, err := b.Register(t.Context(), RegisterRequest{Name: "sys", Path: file, InitPath: "/sbin/init"}, model.Discard)
	if err != nil || sys.Digest == i.Digest || sys.Init != model.InitSystemd || sys.InitPath != "/sbin/init" {
		t.Errorf("with an init: %+v, %v", sys, err)
	}
	if err := b.VerifyContent(t.Context(), sys.Digest); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"mine", "again"} {
		if now, err := b.Image(t.Context(), name); err != nil || now.Init != model.InitAgent || now.InitPath != "" {
			t.Errorf("%s is now %+v, %v", name, now, err)
		}
	}
	for title, c := range map[string]struct {
		data   []byte
		path   string
		called string
		want   string
		kind   error
	}{
		"cut off":        {data: whole[:32<<20], want: "cut off", kind: model.ErrCorrupt},
		"no file system": {data: make([]byte, 1<<20), want: "no ext4", kind: model.ErrInvalid},
		"tiny":           {data: []byte("x"), want: "no ext4", kind: model.ErrInvalid},
		"an odd size":    {data: append(whole[:len(whole):len(whole)], 0), want: "multiple of 512", kind: model.ErrInvalid},
		"not there":      {path: "/no/such/file", want: "no such file", kind: model.ErrNotFound},
		"a device":       {path: "/dev/null", want: "no file", kind: model.ErrInvalid},
		"a bad name":     {path: file, called: "../x", want: "image name", kind: model.ErrInvalid},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			if c.path == "" {
				c.path = filepath.Join(t.TempDir(), "file")
				if err := os.WriteFile(c.path, c.data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.called == "" {
				c.called = "other"
			}
			b := newBench(t, fakeRecipe{})
			_, err := b.Register(t.Context(), RegisterRequest{Name: c.called, Path: c.path}, model.Discard)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			if left := append(b.left(t), b.traces(t)...); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}
