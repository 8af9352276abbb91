package linux

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What had the name is gone or has the text, and nothing else has it.
func TestIdentityFiles(t *testing.T) {
	t.Parallel()
	for way, put := range map[string]func(int, string, string, uint32) error{"replace": replace, "overwrite": overwrite} {
		for name, before := range map[string]func(path, other string) error{
			"none":    func(string, string) error { return nil },
			"longer":  func(path, _ string) error { return os.WriteFile(path, []byte("a longer text\n"), 0o600) },
			"shorter": func(path, _ string) error { return os.WriteFile(path, []byte("a"), 0o600) },
			"empty":   func(path, _ string) error { return os.WriteFile(path, nil, 0o600) },
			"link":    func(path, other string) error { return os.Symlink(other, path) },
			"name":    func(path, other string) error { return os.Link(other, path) },
			"pipe":    func(path, _ string) error { return syscall.Mkfifo(path, 0o600) },
		} {
			t.Run(way+" "+name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				path, other := filepath.Join(dir, "hostname"), filepath.Join(dir, "other")
				if err := errors.Join(os.WriteFile(other, []byte("other"), 0o600), before(path, other)); err != nil {
					t.Fatal(err)
				}
				first, _ := os.Lstat(path)
				at, err := os.Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer at.Close()
				for _, text := range []string{"a text\n", "a text\n"} {
					if err := put(int(at.Fd()), "hostname", text, 0o444); err != nil {
						t.Fatal(err)
					}
					got, err := os.ReadFile(path)
					info, lerr := os.Lstat(path)
					if err := errors.Join(err, lerr); err != nil || string(got) != text || info.Mode() != 0o444 {
						t.Errorf("%q, %v, %v", got, info, err)
					}
				}
				after, _ := os.Lstat(path)
				kept := first != nil && os.SameFile(first, after)
				wanted := way == "overwrite" && first != nil && first.Mode().IsRegular() && name != "name" && os.Getuid() == 0
				if kept != wanted {
					t.Errorf("the file was kept: %v", kept)
				}
				if got, err := os.ReadFile(other); err != nil || string(got) != "other" {
					t.Errorf("the other is %q, %v", got, err)
				}
				if all, err := os.ReadDir(dir); err != nil || len(all) != 2 {
					t.Errorf("there are %v, %v", all, err)
				}
			})
		}
	}
}
