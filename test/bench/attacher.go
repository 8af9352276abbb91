package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"banger/internal/helper/storage"
	"banger/internal/helper/storagecall"
	helperwire "banger/internal/helper/wire"
	"banger/internal/model"
)

const snapshotArgument = "snapshot"

// attacher makes snapshots of a base and takes them away.
type attacher interface {
	attach(ctx context.Context, base, cow string) (time.Duration, error)
	detach(ctx context.Context) error
}

// verbs are those of snapshots, in this process or by the helper.
type verbs interface {
	Attach(ctx context.Context, id model.VMID, base, cow *os.File) (storage.Snapshot, error)
	Detach(ctx context.Context, id model.VMID) error
}

// inProcess calls the verbs itself.
type inProcess struct {
	verbs verbs
	id    model.VMID
}

func (p inProcess) attach(ctx context.Context, base, cow string) (time.Duration, error) {
	return opened(base, cow, func(below, above *os.File) error {
		_, err := p.verbs.Attach(ctx, p.id, below, above)
		return err
	})
}

func (p inProcess) detach(ctx context.Context) error { return p.verbs.Detach(ctx, p.id) }

// opened times do with the two files, which are open before.
func opened(base, cow string, do func(below, above *os.File) error) (took time.Duration, err error) {
	below, err := os.Open(base)
	if err != nil {
		return 0, err
	}
	defer below.Close()
	above, err := os.OpenFile(cow, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer above.Close()
	err = clocked(&took, func() error { return do(below, above) })()
	return took, err
}

// bareOnce is the floor.
type bareOnce struct {
	*bareSnapshots
	id model.VMID
}

func (b bareOnce) attach(_ context.Context, base, cow string) (time.Duration, error) {
	return opened(base, cow, func(below, above *os.File) error {
		_, err := b.make(b.id, below, above)
		return err
	})
}

func (b bareOnce) detach(ctx context.Context) error {
	if err := storage.New(storage.Options{Instance: b.instance}).Detach(ctx, b.id); err != nil {
		return err
	}
	return os.MkdirAll(b.dir(), 0o700) // which went with the last node
}

// order is what an attacher of another user's is told, one a line; the answer is what it took or why not.
type (
	order struct {
		Base, COW string // both empty to detach
	}
	outcome struct {
		Took    time.Duration
		Problem string
	}
)

// attachAsTold is this program as an ordinary user, who has the helper do it.
func attachAsTold([]string) error {
	p := inProcess{storagecall.New(helperwire.Socket(storagecall.Service), model.NewInstanceID()), model.NewVMID()}
	orders, outcomes := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var done outcome
		var err error
		if o == (order{}) {
			err = p.detach(context.Background())
		} else {
			done.Took, err = p.attach(context.Background(), o.Base, o.COW)
		}
		if err != nil {
			done.Problem = err.Error()
		}
		if err := outcomes.Encode(done); err != nil {
			return err
		}
	}
}

// asUser has a process of an ordinary user's do it.
type asUser struct {
	cmd      *exec.Cmd
	orders   io.WriteCloser
	outcomes *bufio.Reader
}

func newAsUser(ctx context.Context, program string, uid uint32) (*asUser, error) {
	cmd := exec.CommandContext(ctx, program, snapshotArgument)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, Pdeathsig: syscall.SIGKILL}
	orders, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	outcomes, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &asUser{cmd, orders, bufio.NewReader(outcomes)}, cmd.Start()
}

func (u *asUser) attach(_ context.Context, base, cow string) (time.Duration, error) {
	return u.tell(order{base, cow})
}

func (u *asUser) detach(context.Context) error {
	_, err := u.tell(order{})
	return err
}

func (u *asUser) tell(o order) (time.Duration, error) {
	if err := json.NewEncoder(u.orders).Encode(o); err != nil {
		return 0, err
	}
	text, err := u.outcomes.ReadBytes('\n')
	if err != nil {
		return 0, fmt.Errorf("the ordinary user's process ended: %w", err)
	}
	var done outcome
	if err := json.Unmarshal(text, &done); err != nil {
		return 0, err
	}
	if done.Problem != "" {
		err = errors.New(done.Problem)
	}
	return done.Took, err
}

func (u *asUser) close() error { return errors.Join(u.orders.Close(), u.cmd.Wait()) }
