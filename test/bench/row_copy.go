package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// What is copied: one large file, and a tree of small ones.
const (
	copyBytes   = 100_000_000
	copyFiles   = 10_000
	copyPerDir  = 100
	copyPairs   = 3 // of a direction and a tree: each takes seconds
	copyAllowed = 0.7
	copyRoom    = 3 << 30 // for what all pairs leave on the host
)

// benchCopy measures cp out and in against the slowest of its stages run alone.
func benchCopy(ctx context.Context, s *session) (result, error) {
	return benchTree(ctx, s, "100 MB", bigFile)
}

// benchCopySmall is benchCopy for small files.
func benchCopySmall(ctx context.Context, s *session) (result, error) {
	return benchTree(ctx, s, "10,000 files", smallFiles)
}

func benchTree(ctx context.Context, s *session, what string, fill func(dir string) error) (result, error) {
	m, err := s.newHome(ctx)
	if err != nil {
		return result{}, err
	}
	defer m.close()
	if err := m.startVM(ctx, "box"); err != nil {
		return result{}, err
	}
	if err := settle(ctx, m, "box"); err != nil {
		return result{}, err
	}
	dir, err := s.memoryDir(copyRoom)
	if err != nil {
		return result{}, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a directory of the bench's own
	if err := fill(filepath.Join(dir, "tree")); err != nil {
		return result{}, err
	}
	c := &copyBench{m: m, dir: dir}
	if _, err := m.banger(ctx, "cp", filepath.Join(dir, "tree"), "box:/root/tree"); err != nil {
		return result{}, err
	}
	if _, err := m.banger(ctx, "cp", "box:/root/tree", filepath.Join(dir, "back")); err != nil {
		return result{}, err
	}
	var pairs []pair
	var notes []string
	for _, way := range []struct {
		name   string
		stages []stage
		whole  stage
	}{
		{"out", c.stagesOut(), c.out},
		{"in", c.stagesIn(), c.in},
	} {
		took := map[string][]time.Duration{}
		for range min(copyPairs, s.pairs) {
			slowest := time.Duration(0)
			for i, stage := range way.stages {
				d, err := stage(ctx)
				if err != nil {
					return result{}, err
				}
				name := []string{"guest", "channel", "host"}[i]
				took[name] = append(took[name], d)
				slowest = max(slowest, d)
			}
			d, err := way.whole(ctx)
			if err != nil {
				return result{}, err
			}
			took["whole"] = append(took["whole"], d)
			pairs = append(pairs, pair{slowest, d, time.Duration(float64(slowest) / copyAllowed)})
		}
		notes = append(notes, fmt.Sprintf("- %s: guest's tar alone %s, channel alone %s, host's tar alone %s, `banger cp` %s", way.name,
			milliseconds(median(took["guest"])), milliseconds(median(took["channel"])), milliseconds(median(took["host"])), milliseconds(median(took["whole"]))))
	}
	r := paired("`cp` of "+what+", both ways", "the slowest stage alone: tar in the guest, the bytes through `vm exec`, tar on the host", "floor / 0.7", pairs)
	r.notes = append([]string{"The host's files are in memory: how long its disk takes depends on what was removed from it before. Medians:", ""}, notes...)
	return r, nil
}

// stage is one measured step.
type stage func(context.Context) (time.Duration, error)

type copyBench struct {
	m   *home
	dir string

	copies int
}

// fresh is a name that nothing has. Copies stay until the end: a disk is slow for a while after much was removed from it.
func (c *copyBench) fresh(name string) string {
	c.copies++
	return fmt.Sprint(name, c.copies)
}

// guest times a command of the guest, less what an empty one takes.
func (c *copyBench) guest(ctx context.Context, script string) (time.Duration, error) {
	empty, err := c.m.timed(ctx, "vm", "exec", "box", "--", "true")
	if err != nil {
		return 0, err
	}
	took, err := c.m.timed(ctx, "vm", "exec", "box", "--", "sh", "-c", script)
	return max(took-empty, time.Millisecond), err
}

func (c *copyBench) host(ctx context.Context, args ...string) (time.Duration, error) {
	begun := time.Now()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", args[0], err, out)
	}
	return time.Since(begun), nil
}

// stagesOut are the guest's tar, its bytes through the channel, and their unpacking.
func (c *copyBench) stagesOut() []stage {
	return []stage{
		func(ctx context.Context) (time.Duration, error) {
			return c.guest(ctx, "tar -C /root -c tree | cat >/dev/null")
		},
		func(ctx context.Context) (time.Duration, error) {
			if _, err := c.guest(ctx, "test -e /root/tree.tar || tar -C /root -cf /root/tree.tar tree"); err != nil {
				return 0, err
			}
			begun := time.Now()
			cmd := c.m.command(ctx, "vm", "exec", "box", "--", "cat", "/root/tree.tar")
			f, err := os.Create(filepath.Join(c.dir, "tree.tar"))
			if err != nil {
				return 0, err
			}
			defer f.Close()
			cmd.Stdout = f
			err = cmd.Run()
			return time.Since(begun), err
		},
		func(ctx context.Context) (time.Duration, error) {
			to := filepath.Join(c.dir, c.fresh("host"))
			if err := os.Mkdir(to, 0o700); err != nil {
				return 0, err
			}
			return c.host(ctx, "tar", "-C", to, "-xf", filepath.Join(c.dir, "tree.tar"))
		},
	}
}

func (c *copyBench) out(ctx context.Context) (time.Duration, error) {
	return c.m.timed(ctx, "cp", "box:/root/tree", filepath.Join(c.dir, c.fresh("copy")))
}

// stagesIn are the host's tar, its bytes through the channel, and their unpacking, which is made durable as ours is.
func (c *copyBench) stagesIn() []stage {
	return []stage{
		func(ctx context.Context) (time.Duration, error) {
			to := c.fresh("/root/tar")
			return c.guest(ctx, "mkdir "+to+" && tar -C "+to+" -xf /root/tree.tar && sync")
		},
		func(ctx context.Context) (time.Duration, error) {
			begun := time.Now()
			cmd := c.m.command(ctx, "vm", "exec", "-i", "box", "--", "sh", "-c", "cat >/dev/null")
			f, err := os.Open(filepath.Join(c.dir, "tree.tar"))
			if err != nil {
				return 0, err
			}
			defer f.Close()
			cmd.Stdin = f
			err = cmd.Run()
			return time.Since(begun), err
		},
		func(ctx context.Context) (time.Duration, error) {
			return c.host(ctx, "tar", "-C", c.dir, "-cf", filepath.Join(c.dir, "host.tar"), "tree")
		},
	}
}

func (c *copyBench) in(ctx context.Context) (time.Duration, error) {
	return c.m.timed(ctx, "cp", filepath.Join(c.dir, "tree"), "box:"+c.fresh("/root/in"))
}

func bigFile(name string) error {
	data := make([]byte, copyBytes)
	_, _ = rand.Read(data) // never fails
	return os.WriteFile(name, data, 0o644)
}

func smallFiles(dir string) error {
	data := make([]byte, 4096)
	_, _ = rand.Read(data) // likewise
	for i := range copyFiles {
		in := filepath.Join(dir, fmt.Sprint(i/copyPerDir))
		if i%copyPerDir == 0 {
			if err := os.MkdirAll(in, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(in, fmt.Sprint(i%copyPerDir)), data[:200+i*37%3000], 0o644); err != nil {
			return err
		}
	}
	return nil
}
