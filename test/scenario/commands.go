package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"banger/internal/procs"
)

// commandTimeout ends a scripted command that hangs; far above what any takes on a host whose every core is busy.
func commandTimeout() time.Duration { return patient(10 * time.Minute) }

// waitTimeout is how long a script waits for what comes by itself, such as a guest that switches off after its services.
func waitTimeout() time.Duration { return patient(5 * time.Minute) }

// command prepares a program with the script's environment and directory. A bare name is looked up in the script's PATH.
func command(ctx context.Context, ts *testscript.TestScript, args []string) *exec.Cmd {
	if len(args) == 0 {
		ts.Fatalf("which command?")
	}
	cmd := exec.CommandContext(ctx, "/usr/bin/env", append([]string{"--"}, inWorld(ts, args)...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = Environment(ts)
	cmd.WaitDelay = 10 * time.Second // a daemon that kept our pipes open must not hang the script
	return cmd
}

// Environment is the script's, of which only single variables can be asked for.
func Environment(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{
		"HOME", "PATH", "LANG", "TERM", "TMPDIR", "WORK", "STATE", "BIN", "XDG_STATE_HOME", "XDG_DATA_HOME",
		"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "NO_COLOR", "FROM_HOST", "E2E", "http_proxy", "https_proxy", "REGISTRY", "GOCOVERDIR", "UPLOADS", "LAB_RESULTS", "KEPT", "LIB", "NEXT",
	} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

// options takes leading "-name value" pairs off a command's arguments.
func options(args []string, names ...string) (map[string]string, []string) {
	found := map[string]string{}
	for len(args) >= 2 {
		name, ok := strings.CutPrefix(args[0], "-")
		known := false
		for _, n := range names {
			known = known || n == name
		}
		if !ok || !known {
			break
		}
		found[name], args = args[1], args[2:]
	}
	return found, args
}

// cmdExits runs a command and requires its exit code: `exits 42 [-in FILE] [-out FILE] [-err FILE] banger …`. What is not
// sent to a file can be looked at with stdout and stderr, as after exec. Without -in, standard input is /dev/null.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE [-in FILE] [-out FILE] [-err FILE] command…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	opts, argv := options(args[1:], "in", "out", "err")
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout())
	defer cancel()
	cmd := command(ctx, ts, argv)
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	for _, o := range []struct {
		name string
		to   *io.Writer
	}{{"out", &cmd.Stdout}, {"err", &cmd.Stderr}} {
		if opts[o.name] == "" {
			continue
		}
		f, err := os.Create(ts.MkAbs(opts[o.name]))
		ts.Check(err)
		defer f.Close()
		*o.to = f
	}
	if opts["in"] != "" {
		f, err := os.Open(ts.MkAbs(opts["in"]))
		ts.Check(err)
		defer f.Close()
		cmd.Stdin = f
	}
	requireCode(ts, cmd.Run(), want)
}

// cmdEventually runs a command again and again until its output matches: `eventually [-within 20s] REGEXP banger …`. For
// what changes without being asked and that no file or process tells of.
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	limit, rest := within(ts, args)
	if neg || len(rest) < 2 {
		ts.Fatalf("usage: eventually [-within DURATION] REGEXP command…")
	}
	pattern := regexp.MustCompile("(?m)" + rest[0])
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	last := "it has not ended once"
	for {
		out, err := command(ctx, ts, rest[1:]).Output()
		if err == nil && pattern.Match(out) {
			_, _ = ts.Stdout().Write(out)
			return
		}
		if ctx.Err() == nil { // else it was ended, in the middle of what it would have said
			last = fmt.Sprintf("%v: %s", err, out)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			ts.Fatalf("after %s still %s", limit, last)
		}
	}
}

func requireCode(ts *testscript.TestScript, err error, want int) {
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		got = exit.ExitCode()
	case err != nil:
		tellOfVMs(ts)
		ts.Fatalf("the command did not end by itself: %v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// cmdCapture puts what the last command said into a variable: `capture VAR [stdout|stderr|FILE]`.
func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: capture VAR [FILE]")
	}
	from := "stdout"
	if len(args) == 2 {
		from = args[1]
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(from)))
}

// cmdJSONField prints one field of a JSON file: `jsonfield stdout .[0].name`.
func cmdJSONField(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] jsonfield FILE PATH")
	}
	text, err := jsonField(ts.ReadFile(args[0]), args[1])
	if neg {
		if err == nil {
			ts.Fatalf("%s is there: %s", args[1], text)
		}
		return
	}
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), text)
}

// cmdDaemonPID puts the daemon's process id into a variable, DAEMON unless named.
func cmdDaemonPID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: daemonpid [VAR]")
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout())
	defer cancel()
	out, err := command(ctx, ts, []string{"banger", "daemon", "status", "--format", "json"}).Output()
	ts.Check(err)
	pid, err := jsonField(string(out), ".pid")
	ts.Check(err)
	ts.Setenv(append(args, "DAEMON")[0], pid)
}

func processArgument(ts *testscript.TestScript, text string) (process, error) {
	pid, err := strconv.Atoi(text)
	if err != nil || pid <= 1 {
		ts.Fatalf("%q is no process id", text)
	}
	return openProcess(pid)
}

// cmdKill9 kills a process and waits for its death.
func cmdKill9(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: kill9 PID")
	}
	p, err := processArgument(ts, args[0])
	ts.Check(err)
	if !p.kill() {
		ts.Fatalf("process %s lives on", args[0])
	}
}

// cmdAlive requires that a process lives.
func cmdAlive(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] alive PID")
	}
	p, err := processArgument(ts, args[0])
	living := err == nil && !p.waitGone(0)
	if err == nil {
		p.close()
	}
	if living == neg {
		ts.Fatalf("process %s: alive is %v", args[0], living)
	}
}

// cmdSignal sends a signal to a process: `signal TERM PID`.
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signal NAME PID")
	}
	sig := unix.SignalNum("SIG" + args[0])
	if sig == 0 {
		ts.Fatalf("%s is no signal", args[0])
	}
	p, err := processArgument(ts, args[1])
	ts.Check(err)
	defer p.close()
	ts.Check(p.signal(sig))
}

// cmdParallel starts a command N times at once, with {} in its arguments replaced by 1 to N, and requires that all
// succeed. Their output comes one after another, in that order.
func cmdParallel(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: parallel N command…")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout())
	defer cancel()
	cmds, outs, complaints, errs := make([]*exec.Cmd, n), make([]bytes.Buffer, n), make([]bytes.Buffer, n), make([]error, n)
	for i := range cmds {
		argv := make([]string, 0, len(args))
		for _, a := range args[1:] {
			argv = append(argv, strings.ReplaceAll(a, "{}", strconv.Itoa(i+1)))
		}
		cmds[i] = command(ctx, ts, argv)
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], &complaints[i]
	}
	var wg sync.WaitGroup
	for i, cmd := range cmds {
		wg.Go(func() { errs[i] = cmd.Run() })
	}
	wg.Wait()
	failed := 0
	for i := range cmds {
		_, _ = ts.Stdout().Write(outs[i].Bytes())
		_, _ = ts.Stderr().Write(complaints[i].Bytes())
		if errs[i] != nil {
			failed++
			ts.Logf("number %d: %v: %s", i+1, errs[i], complaints[i].String())
		}
	}
	if failed > 0 {
		ts.Fatalf("%d of %d failed", failed, n)
	}
}

// cmdWaitGone waits until a process has ended or a path is gone: `waitgone [-within 20s] PID|PATH`.
func cmdWaitGone(ts *testscript.TestScript, neg bool, args []string) {
	limit, rest := within(ts, args)
	if neg || len(rest) != 1 {
		ts.Fatalf("usage: waitgone [-within DURATION] PID|PATH")
	}
	if _, err := strconv.Atoi(rest[0]); err == nil {
		p, err := processArgument(ts, rest[0])
		if errors.Is(err, unix.ESRCH) {
			return
		}
		ts.Check(err)
		defer p.close()
		if !p.waitGone(limit) {
			ts.Fatalf("process %s still runs after %s", rest[0], limit)
		}
		return
	}
	path := ts.MkAbs(rest[0])
	gone := func() bool {
		_, err := os.Lstat(path)
		return errors.Is(err, os.ErrNotExist)
	}
	if !watch(ts, filepath.Dir(path), limit, gone) {
		ts.Fatalf("%s is still there after %s", path, limit)
	}
}

// within takes -within DURATION off the arguments, which grows where all is slow; waitTimeout when it is not there.
func within(ts *testscript.TestScript, args []string) (time.Duration, []string) {
	opts, rest := options(args, "within")
	if opts["within"] == "" {
		return waitTimeout(), rest
	}
	limit, err := time.ParseDuration(opts["within"])
	ts.Check(err)
	return patient(limit), rest
}

// cmdNetdPID puts netd's process id into a variable, NETD unless named: of the one that holds the lock.
func cmdNetdPID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: netdpid [VAR]")
	}
	var pid int
	for end := time.Now().Add(patient(time.Minute)); pid == 0 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var err error
		pid, err = procs.LockHolder(filepath.Join(ts.Getenv("STATE"), "netd.lock"))
		ts.Check(err)
	}
	if pid == 0 {
		ts.Fatalf("no netd runs")
	}
	ts.Setenv(append(args, "NETD")[0], strconv.Itoa(pid))
}

// cmdAnnounce shows the last line of a file to whoever runs the tests, also when they pass: `announce stdout`.
func cmdAnnounce(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: announce FILE")
	}
	lines := strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n")
	fmt.Fprintf(os.Stderr, "e2e: %s: %s\n", ts.Name(), lines[len(lines)-1])
}
