package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
)

func TestCopyPlaces(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]cpPlace{
		"box:/etc":    {"box", "/etc"},
		"box:":        {"box", ""},
		"box:a:b":     {"box", "a:b"},
		"./box:/etc":  {"", "./box:/etc"},
		"/a:b":        {"", "/a:b"},
		"../a:b":      {"", "../a:b"},
		"Box:/etc":    {"", "Box:/etc"},
		"dir/box:x":   {"", "dir/box:x"},
		"-":           {"", "-"},
		"box:-":       {"box", "-"},
		"file":        {"", "file"},
		":x":          {"", ":x"},
		"2abc:./rel/": {"2abc", "./rel/"},
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
