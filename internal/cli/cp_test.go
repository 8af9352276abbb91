package cli

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"banger/internal/model"
)

func TestCopyPlaces(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]cpPlace{
		"box:/etc":              {"box", "/etc"},
		"abcdefghij234567:/etc": {"abcdefghij234567", "/etc"}, // an id
		"box:":                  {"box", ""},
		"box:a:b":               {"box", "a:b"},
		"./box:/etc":            {"", "./box:/etc"},
		"/a:b":                  {"", "/a:b"},
		"../a:b":                {"", "../a:b"},
		"Box:/etc":              {"", "Box:/etc"},
		"dir/box:x":             {"", "dir/box:x"},
		"-":                     {"", "-"},
		"box:-":                 {"box", "-"},
		"file":                  {"", "file"},
		":x":                    {"", ":x"},
		"2abc:./rel/":           {"2abc", "./rel/"},
	} {
		if got := parsePlace(arg); got != want {
			t.Errorf("%q: %+v, want %+v", arg, got, want)
		}
	}
}

func TestCopyCommand(t *testing.T) {
	t.Parallel()
	f := newBench(t)
	f.VMs.Root = t.TempDir()
	f.VMs.Add("box", model.StateRunning)
	f.VMs.Add("off", model.StateStopped)
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "f"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		err  string
	}{
		{[]string{"cp", host + "/f", "box:/g"}, 0, ""},
		{[]string{"vm", "cp", "box:g", host + "/h"}, 0, ""},
		{[]string{"cp", "box:/g", "-"}, 0, ""},
		{[]string{"cp", "box:/g", "box:/copy"}, 0, ""},
		{[]string{"cp", "box:/g"}, 2, "name what to copy"},
		{[]string{"cp", "f", "g"}, 2, "neither side is in a VM"},
		{[]string{"cp", "-", "-"}, 2, "neither side is in a VM"},
		{[]string{"cp", "box:", host}, 2, "name a path of the VM"},
		{[]string{"cp", "none:/g", host}, 1, `there is no VM "none"`},
		{[]string{"cp", "off:/g", host}, 1, "start it with: banger vm start off"},
		{[]string{"cp", "box:/no", host}, 1, "there is no box:/no; to look around: banger vm exec box -- ls /"},
		{[]string{"cp", "--max-size", "1", "box:/g", host + "/large"}, 1, "larger than allowed, 1 B; nothing of " + host + "/large is left; to take more: --max-size"},
	} {
		r := f.run(t, c.args...)
		if r.code != c.code || !strings.Contains(r.err, c.err) {
			t.Errorf("%q: code %d, stderr %q; want %d, %q", c.args, r.code, r.err, c.code, c.err)
		}
	}
	if raw, err := os.ReadFile(filepath.Join(host, "h")); string(raw) != "text" {
		t.Errorf("%q, %v", raw, err)
	}
}

// Paths in a guest are offered as far as a shell can be handed them, and never from a guest that does not answer in time.
func TestCompleteGuestPaths(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Root = t.TempDir()
	b.VMs.Add("box", model.StateRunning)
	b.VMs.Add("off", model.StateStopped)
	for _, dir := range []string{"etc/ssl", "empty", "evil"} {
		if err := os.MkdirAll(filepath.Join(b.VMs.Root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{
		"etc/hosts", "etc/hostname", "etc/.pwd.lock", "etc/größe", "evil/$(touch x)", "evil/a b", "evil/`x`", "evil/a\nb", "evil/a\tb", "evil/-rf", "evil/\xff",
		"evil/\x1b[2J", "evil/\u202e", "evil/a'b", "evil/a;b", "evil/~x", "evil/a:b", "evil/*",
	} {
		if err := os.WriteFile(filepath.Join(b.VMs.Root, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", filepath.Join(b.VMs.Root, "link")); err != nil {
		t.Fatal(err)
	}
	const noSpace, space, files = ":6\n", ":4\n", ":0\n"
	for start, want := range map[string]string{
		"box:/e":           "box:/empty/\nbox:/etc/\nbox:/evil/\n" + noSpace,
		"box:/et":          "box:/etc/\n" + noSpace,
		"box:":             "box:/empty/\nbox:/etc/\nbox:/evil/\nbox:/link\n" + noSpace,
		"box:et":           "box:etc/\n" + noSpace,
		"box:/etc/":        "box:/etc/größe\nbox:/etc/hostname\nbox:/etc/hosts\nbox:/etc/ssl/\n" + noSpace,
		"box:/etc/.":       "box:/etc/.pwd.lock\n" + space,
		"box:/etc/hosts":   "box:/etc/hosts\n" + space,
		"box:/link/hostn":  "box:/link/hostname\n" + space,
		"box:/evil/":       "box:/evil/-rf\n" + space,
		"box:/../../etc/h": "box:/../../etc/hostname\nbox:/../../etc/hosts\n" + noSpace,
		"box:/nothing/":    noSpace,
		"off:/etc":         noSpace,
		"none:/etc":        noSpace,
		"bo":               "box:\n" + ":2\n",
		"./box:/et":        files,
	} {
		for _, before := range [][]string{{"__complete", "cp"}, {"__complete", "vm", "cp", "x"}} {
			r := b.run(t, append(before, start)...)
			if r.out != want {
				t.Errorf("%q: %q, want %q", start, r.out, want)
			}
		}
	}
	var most []string
	for i := range model.MaxListed + 10 {
		most = append(most, filepath.Join(b.VMs.Root, "empty", "f"+strconv.Itoa(i)))
	}
	for _, name := range most {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if r := b.run(t, "__complete", "cp", "box:/empty/f"); strings.Count(r.out, "\n") != model.MaxListed+1 {
		t.Errorf("%d lines", strings.Count(r.out, "\n"))
	}
}
