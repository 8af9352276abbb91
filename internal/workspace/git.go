package workspace

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"banger/internal/hosttool"
	"banger/internal/model"
)

// git runs the host's git in one directory.
type git struct {
	path string   // of the program
	dir  string   // where it runs
	safe []string // -c arguments taken over from the user's own configuration
	env  []string // on top of gitEnv
}

// quiet are the settings under which git runs nothing but itself, whatever a repository's configuration says. Filters
// and diff programs have no such switch: no command that would run one is used on a work tree.
var quiet = []string{
	"-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false",
	"-c", "core.attributesFile=/dev/null", "-c", "core.pager=cat", "-c", "protocol.allow=never",
	"-c", "core.bigFileThreshold=32m", // larger ones are taken for binary, and not held in memory
	"-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "advice.detachedHead=false",
}

const (
	maxGitOutput = 512 << 20 // of one command: the list of a very large project
	maxGitError  = 2 << 10
	gitGrace     = 5 * time.Second
)

func findGit() (string, error) { return hosttool.Find("git", "git") }

// gitEnv is git's whole environment: nothing of ours that could point it elsewhere is handed on.
func gitEnv() []string {
	env := []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_ATTR_NOSYSTEM=1", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_NO_REPLACE_OBJECTS=1",
		"GIT_NO_LAZY_FETCH=1", "GIT_PROTOCOL_FROM_USER=0",
		"GIT_DEFAULT_REF_FORMAT=files", "GIT_DEFAULT_HASH=sha1", // what every git in a guest understands
	}
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME"} { // where the user's list of ignored files is
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// own returns git for a repository that we made, at dir: it looks for no other.
func (g git) own(dir string, env ...string) git {
	return git{path: g.path, dir: dir, env: append([]string{"GIT_DIR=" + dir}, env...)}
}

func (g git) command(ctx context.Context, args ...string) *exec.Cmd {
	all := append(append([]string{"--no-pager", "--literal-pathspecs"}, quiet...), g.safe...)
	cmd := exec.CommandContext(ctx, g.path, append(all, args...)...)
	cmd.Env, cmd.Dir = append(gitEnv(), g.env...), g.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } //nolint:forbidigo // its whole group; it is not reaped yet
	cmd.WaitDelay = gitGrace
	return cmd
}

// run runs one command to its end.
func (g git) run(ctx context.Context, stdin io.Reader, stdout io.Writer, args ...string) error {
	cmd := g.command(ctx, args...)
	complaint := &tail{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, complaint
	return g.explain(ctx, args, cmd.Run(), complaint)
}

// explain makes git's failure an error of ours.
func (g git) explain(ctx context.Context, args []string, err error, complaint *tail) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return model.Errorf(model.ErrCanceled, "canceled: %w", context.Cause(ctx))
	}
	text := complaint.String()
	kind := error(nil)
	if strings.Contains(text, "No space left on device") {
		kind = model.ErrNoSpace
	}
	failure := &gitError{command: args[0], complaint: text, cause: err}
	if kind != nil {
		return model.Errorf(kind, "%w", failure)
	}
	return failure
}

// gitError is a git that failed.
type gitError struct {
	command   string
	complaint string
	cause     error
}

func (e *gitError) Error() string {
	if e.complaint == "" {
		return fmt.Sprintf("git %s failed: %v", e.command, e.cause)
	}
	return fmt.Sprintf("git %s failed: %s", e.command, e.complaint)
}

func (e *gitError) Unwrap() error { return e.cause }

// output runs one command and returns what it printed.
func (g git) output(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	out := &capped{left: maxGitOutput}
	if err := g.run(ctx, stdin, out, args...); err != nil {
		return nil, err
	}
	if out.over {
		return nil, model.Errorf(model.ErrInvalid, "the project's list of files is larger than %s", model.FormatSize(maxGitOutput))
	}
	return out.Bytes(), nil
}

// line is output without the line's end.
func (g git) line(ctx context.Context, args ...string) (string, error) {
	out, err := g.output(ctx, nil, args...)
	return strings.TrimSuffix(string(out), "\n"), err
}

// fields splits NUL-terminated output.
func fields(out []byte) []string {
	text := strings.TrimSuffix(string(out), "\x00")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\x00")
}

// terminated is what git's -z options read.
func terminated(all []string) io.Reader {
	if len(all) == 0 {
		return strings.NewReader("")
	}
	return strings.NewReader(strings.Join(all, "\x00") + "\x00")
}

// capped keeps what is written to it up to a size and drops the rest.
type capped struct {
	bytes.Buffer
	left int
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	keep := min(len(p), c.left)
	c.over = c.over || keep < len(p)
	c.left -= keep
	c.Buffer.Write(p[:keep])
	return len(p), nil
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if n := len(t.text) - maxGitError; n > 0 {
		t.text = append(t.text[:0], t.text[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.text)) }
