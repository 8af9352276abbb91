package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"banger/internal/agent"
)

const (
	codeNotExecutable = 126
	codeNotFound      = 127

	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// lookProgram finds the program that name means: as a path when it holds a slash, else along path. A name that stands
// there but cannot be run is told apart from one that is nowhere.
func lookProgram(name, path, workdir string) (string, error) {
	if strings.Contains(name, "/") {
		full := name
		if !filepath.IsAbs(full) {
			full = filepath.Join(workdir, full)
		}
		return full, executable(name, full)
	}
	var refused error
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(workdir, dir)
		}
		full := filepath.Join(dir, name)
		err := executable(name, full)
		if err == nil {
			return full, nil
		}
		if start := (*agent.StartError)(nil); errors.As(err, &start) && start.Code == codeNotExecutable && refused == nil {
			refused = err
		}
	}
	if refused != nil {
		return "", refused
	}
	return "", &agent.StartError{Code: codeNotFound, Message: fmt.Sprintf("exec: %q: executable file not found in $PATH", name)}
}

func executable(name, full string) error {
	info, err := os.Stat(full)
	switch {
	case err != nil:
		return startError(name, err)
	case info.IsDir():
		return startError(name, syscall.EISDIR)
	case !info.Mode().IsRegular(), info.Mode().Perm()&0o111 == 0:
		return startError(name, syscall.EACCES)
	}
	return nil
}

// startError says why a program could not be run, by docker's codes.
func startError(name string, err error) error {
	code := codeNotExecutable
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		code = codeNotFound
	}
	var number syscall.Errno
	text := err.Error()
	if errors.As(err, &number) {
		text = number.Error()
	}
	return &agent.StartError{Code: code, Message: fmt.Sprintf("exec: %q: %s", name, text)}
}

// environment is what a command finds: defaults of the account, then what was given, a later one winning.
func environment(a account, given []string, tty bool) []string {
	env := []string{"PATH=" + defaultPath, "HOME=" + a.home}
	if a.name != "" {
		env = append(env, "USER="+a.name)
	}
	if a.shell != "" {
		env = append(env, "SHELL="+a.shell)
	}
	term := "TERM=dumb" // there is none, and what asks for it all the same is told so
	if tty {
		term = "TERM=xterm"
	}
	env = append(env, term)
	at := map[string]int{}
	var out []string
	for _, kv := range append(env, given...) {
		name, _, _ := strings.Cut(kv, "=")
		if i, ok := at[name]; ok {
			out[i] = kv
			continue
		}
		at[name] = len(out)
		out = append(out, kv)
	}
	return out
}

func valueOf(env []string, name string) string {
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}
