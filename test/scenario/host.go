package scenario

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Host is what all scripts share: the programs under test, and built images and kernels that nobody writes to.
type Host struct {
	Bin    string // directory of banger and its companions
	Shared string // directory of the shared data and cache homes
}

// prepareTimeout bounds the building of the default image and kernel on a slow mirror.
const prepareTimeout = 30 * time.Minute

// hear has the programs of scripts hear their signals also where a shell runs the tests in the background or without its
// terminal: it has them ignore some, and what is ignored stays so in every new program. What is caught does not.
func hear() {
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}

// FindHost looks for the programs in BANGER_E2E_BIN, else in the tree's bin, and for the images in BANGER_E2E_SHARED,
// else in the user's cache directory, where the next run finds them again.
func FindHost() (Host, error) {
	hear()
	h := Host{Bin: os.Getenv("BANGER_E2E_BIN"), Shared: os.Getenv("BANGER_E2E_SHARED")}
	if h.Bin == "" {
		h.Bin = filepath.Join("..", "..", "bin")
	}
	bin, err := filepath.Abs(h.Bin)
	if err != nil {
		return h, err
	}
	h.Bin = bin
	if _, err := os.Stat(filepath.Join(bin, "banger")); err != nil {
		return h, fmt.Errorf("%w; run make build", err)
	}
	if h.Shared == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return h, err
		}
		h.Shared = filepath.Join(cache, "banger-e2e")
	}
	return h, os.MkdirAll(h.Shared, 0o700)
}

// Env is what every banger of this run is given, scripted or not.
func (h Host) Env() []string {
	return []string{
		"PATH=" + h.Bin + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin",
		"XDG_DATA_HOME=" + filepath.Join(h.Shared, "data"),
		"XDG_CACHE_HOME=" + filepath.Join(h.Shared, "cache"),
		"XDG_RUNTIME_DIR=",
		"TMPDIR=" + os.TempDir(),
		"LANG=C.UTF-8",
		"GOCOVERDIR=" + os.Getenv("GOCOVERDIR"), // for programs built to say what was run of them
	}
}

// Prepare runs one VM with the shared images, which builds them where they are missing, and shows the progress.
func (h Host) Prepare() error {
	state, err := os.MkdirTemp("", "banger-e2e-prepare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	fmt.Fprintln(os.Stderr, "e2e: a first VM; without a built image and kernel in", h.Shared, "this takes minutes")
	ctx, cancel := context.WithTimeout(context.Background(), prepareTimeout)
	defer cancel()
	err = relay(h.Banger(ctx, state, "vm", "run", "--", "true"))
	return errors.Join(err, relay(h.Banger(ctx, state, "daemon", "stop")))
}

// Banger is one command outside of the scripts, with a state directory of its own.
func (h Host) Banger(ctx context.Context, state string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(h.Bin, "banger"), args...)
	cmd.Env = append(append(os.Environ(), h.Env()...), "XDG_STATE_HOME="+state, "XDG_CONFIG_HOME="+state)
	return cmd
}

// relay runs cmd and passes on what it says, line by line, under our mark: a reader of many tests' output sees who it is.
func relay(cmd *exec.Cmd) error {
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			fmt.Fprintln(os.Stderr, "e2e:", lines.Text())
		}
		_, _ = io.Copy(io.Discard, r) // a line too long to scan must not block the command
	}()
	err := cmd.Run()
	w.Close()
	<-done
	if err != nil {
		return fmt.Errorf("%v: %w", cmd.Args, err)
	}
	return nil
}

// cmdOwnData gives the script a data home of its own with the shared images in it, for what deletes or breaks them.
func (h Host) cmdOwnData(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: owndata")
	}
	own := filepath.Join(ts.Getenv("WORK"), "data")
	ts.Check(copyTree(filepath.Join(h.Shared, "data"), own))
	ts.Setenv("XDG_DATA_HOME", own)
	// What the shared cache knows is about the shared data, but for the host's own speed, which takes time to find out.
	cache := filepath.Join(ts.Getenv("WORK"), "cache")
	ts.Check(copyTree(filepath.Join(h.Shared, "cache", "banger", "probe"), filepath.Join(cache, "banger", "probe")))
	ts.Setenv("XDG_CACHE_HOME", cache)
}

// copyTree copies regular files and directories; files by reflink or sparsely, since images are mostly holes. Daemons of
// other scripts are at work there: locks, and what begins with a dot because it is being made, stay behind, and so does
// what is gone when its turn comes.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != from {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case entry.IsDir() && (entry.Name() == "locks" || path != from && strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case entry.IsDir():
			return os.MkdirAll(target, 0o700)
		case entry.Type().IsRegular() && !strings.HasPrefix(entry.Name(), "."):
			out, err := exec.Command("cp", "--sparse=always", "--reflink=auto", "--preserve=mode", path, target).CombinedOutput()
			if err != nil && exists(path) {
				return fmt.Errorf("cp: %w: %s", err, out)
			}
		}
		return nil
	})
}
