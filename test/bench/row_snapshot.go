package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"banger/internal/helper/storage"
	"banger/internal/model"
	"banger/internal/udev"
)

const (
	snapshotPercent = 130
	snapshotTarget  = "1.3 S"
	snapshotTimes   = 3 // pairs for one of a boot
	snapshotBase    = 1 << 30
	ordinaryUser    = 1000 // who is in the lab for that
)

// attached is how long a snapshot took with new changes, and with the same ones again.
type attached struct{ first, again time.Duration }

// benchSnapshot measures the making of a snapshot in process, as a daemon of root's does it, and by the helper.
func benchSnapshot(ctx context.Context, s *session) (all []result, err error) {
	// Where the ordinary user gets at it, too.
	dir, err := os.MkdirTemp("/var/tmp", "banger-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := errors.Join(os.Chmod(dir, 0o711), copyProgram(filepath.Join(s.bin, "bench"), filepath.Join(dir, "bench"))); err != nil {
		return nil, err
	}
	bare, err := newBareSnapshots()
	if err != nil {
		return nil, err
	}
	defer bare.close()
	floor := bareOnce{bare, model.NewVMID()}
	instance := model.NewInstanceID()
	rules := udev.New(instance)
	defer func() { err = errors.Join(err, rules.Close()) }()
	own := inProcess{storage.New(storage.Options{Instance: instance, Udev: rules}), model.NewVMID()}
	base := filepath.Join(dir, "base")
	times := s.pairs * snapshotTimes
	results, err := ground{base, 0}.compare(ctx, times, floor, own, "in process")
	if err != nil {
		return nil, err
	}
	if err := s.system(ctx, "install", "--owner", fmt.Sprint(ordinaryUser)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.system(context.WithoutCancel(ctx), "uninstall")) }()
	user, err := newAsUser(ctx, filepath.Join(dir, "bench"), ordinaryUser)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, user.close()) }()
	more, err := ground{base, ordinaryUser}.compare(ctx, times, floor, user, "by the helper")
	return append(results, more...), err
}

// system is banger system …, of the programs that are to be installed.
func (h *host) system(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, filepath.Join(h.bin, "banger"), append([]string{"system"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("banger system %s: %w: %s", args[0], err, out)
	}
	return nil
}

// ground is the file below snapshots, and the user whose files all are.
type ground struct {
	base string
	uid  int
}

func (g ground) compare(ctx context.Context, times int, floor, product attacher, how string) ([]result, error) {
	if err := ownedFile(g.base, g.uid, snapshotBase); err != nil {
		return nil, err
	}
	var first, again []pair
	for i := range times + 1 {
		var f, p attached
		err := inTurn(i,
			func() (err error) { f, err = g.attachTwice(ctx, floor); return },
			func() (err error) { p, err = g.attachTwice(ctx, product); return })
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first starts the helper, and makes loop devices that stay
			first = append(first, pair{f.first, p.first, f.first * snapshotPercent / 100})
			again = append(again, pair{f.again, p.again, f.again * snapshotPercent / 100})
		}
	}
	const calls = "S: the kernel's calls alone"
	return []result{
		paired("a new snapshot, made "+how, calls, snapshotTarget, first),
		paired("one with changes, made again "+how, calls, snapshotTarget, again),
	}, nil
}

// attachTwice makes a snapshot with a new file for the changes, takes it away, makes it again and takes it away.
func (g ground) attachTwice(ctx context.Context, a attacher) (t attached, err error) {
	cow := g.base + ".cow"
	if err := ownedFile(cow, g.uid, storage.COWBytes(snapshotBase)); err != nil {
		return t, err
	}
	for _, into := range []*time.Duration{&t.first, &t.again} {
		if *into, err = a.attach(ctx, g.base, cow); err == nil {
			err = quiet(ctx)
		}
		if err = errors.Join(err, a.detach(ctx), quiet(ctx)); err != nil {
			return t, err
		}
	}
	return t, os.Remove(cow)
}

// quiet returns when udev has looked at what came and went.
func quiet(ctx context.Context) error {
	return exec.CommandContext(ctx, "udevadm", "settle", "--timeout=60").Run()
}

// ownedFile makes a sparse file of a user's, whose beginning is written: banger makes files for changes so.
func ownedFile(path string, uid int, size int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(make([]byte, 8<<10))
	return errors.Join(err, file.Truncate(size), file.Chown(uid, uid), file.Sync(), file.Close())
}
