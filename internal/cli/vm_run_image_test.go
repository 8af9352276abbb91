package cli

import (
	"slices"
	"strings"
	"testing"

	"banger/internal/image"
	"banger/internal/model"
	"banger/internal/server/servertest"
)

func TestRunOfAnImage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args     string // "_" is an empty one
		main     bool   // the image has a main command
		argv     string
		given    bool // argv goes to the image's entrypoint
		leased   bool
		kept     bool
		detached bool
	}{
		{args: "-- a b", argv: "a b", given: true, leased: true},
		{args: "", main: true, given: true, leased: true},
		{args: "", given: true, kept: true},
		{args: "--name box", main: true, given: true, kept: true},
		{args: "--entrypoint e -- a", argv: "e a", leased: true},
		{args: "--entrypoint e", argv: "e", leased: true},
		{args: "--entrypoint _ -- a", argv: "a", leased: true},
		{args: "--entrypoint _", main: true, kept: true},
		{args: "-d --name box", main: true, kept: true, detached: true},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.VMs.Main = c.main
			b.VMs.Program = func(*servertest.Guest) model.ExecStatus { return model.ExecStatus{Code: 7} }
			args := append([]string{"vm", "run", "--image", "x/y:z", "--pull", "always", "--platform", "linux/386", "--insecure"}, strings.Fields(c.args)...)
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "_", "")
			}
			code := b.run(t, args...).code
			r := b.VMs.Created()[0]
			if want := (image.Want{Policy: image.PullAlways, Platform: "linux/386", Insecure: true}); r.Image != want || r.Spec.Image != "x/y:z" {
				t.Errorf("%+v", r)
			}
			if leased := r.Lease || r.LeaseMain && c.main; leased != c.leased || r.StartMain != c.detached {
				t.Errorf("%+v", r)
			}
			if vms, _ := b.VMs.List(t.Context()); (len(vms) > 0) != c.kept {
				t.Errorf("%d VMs are left", len(vms))
			}
			if c.detached {
				return
			}
			e := b.VMs.Execs()[0]
			if code != 7 || e.Main != c.given || !slices.Equal(e.Argv, strings.Fields(c.argv)) {
				t.Errorf("code %d, %+v", code, e)
			}
		})
	}
}

func TestImageCommands(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run(t, "image", "pull", "x/y:z").want(t, 0, "x/y:z\n", "")
	b.in = strings.NewReader("an archive")
	b.run(t, "image", "import", "--name", "mine", "-").want(t, 0, "mine\n", "")
	b.run(t, "image", "import", "--name", "other", "file.tar").want(t, 0, "other\n", "")
	b.run(t, "image", "register", "--name", "disk", "root.ext4").want(t, 0, "disk\n", "")
	b.run(t, "image", "tag", "mine", "yours").want(t, 0, "", "")
	b.run(t, "image", "promote", "mine").want(t, 0, "", "")
	for _, args := range [][]string{
		{"image", "pull"}, {"image", "import"}, {"image", "register", "f"}, {"image", "tag", "one"}, {"image", "promote"}, {"image", "prune", "x"},
		{"vm", "create", "--pull", "sometimes"},
	} {
		if got := b.run(t, args...); got.code == 0 || got.err == "" {
			t.Errorf("%q: code %d, %q", args, got.code, got.err)
		}
	}
}
