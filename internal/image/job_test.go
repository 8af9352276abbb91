package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"banger/internal/image/layers"
	"banger/internal/model"
	"banger/internal/store"
)

// Environment of the test program run again as one that does one thing and may be killed in the middle.
const (
	jobVariable = "BANGER_TEST_JOB" // "pull REF", "import FILE", "register FILE", "delete NAME"
	dirVariable = "BANGER_TEST_DIR" // where its directories and its database are
)

// overStore is a service with a real database, as a daemon has it.
func overStore(ctx context.Context, dir string) (*Service, *store.Store, error) {
	rows, err := store.Open(ctx, filepath.Join(dir, "banger.db"))
	if err != nil {
		return nil, nil, err
	}
	s := New(Options{
		Dirs: Dirs{Data: filepath.Join(dir, "data"), Cache: filepath.Join(dir, "cache")}, Catalog: rows, Agent: os.Args[0],
		Limits: layers.DefaultLimits(), Log: slog.New(slog.DiscardHandler),
	})
	s.keychain, s.wait, s.rootBytes = nil, time.Millisecond, 128*model.MiB
	return s, rows, nil
}

func runJob(job string) int {
	ctx := context.Background()
	s, rows, err := overStore(ctx, os.Getenv(dirVariable))
	if err == nil {
		err = errors.Join(s.job(ctx, job), rows.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (s *Service) job(ctx context.Context, job string) error {
	verb, what, _ := strings.Cut(job, " ")
	var err error
	switch verb {
	case "pull":
		_, err = s.Pull(ctx, Want{Ref: what, Policy: PullAlways}, model.Discard)
	case "import":
		var data []byte
		if data, err = os.ReadFile(what); err == nil {
			_, err = s.Import(ctx, ImportRequest{Name: "mine", Stream: bytes.NewReader(data)}, model.Discard)
		}
	case "register":
		_, err = s.Register(ctx, RegisterRequest{Name: "mine", Path: what}, model.Discard)
	case "delete":
		_, err = s.DeleteImage(ctx, what)
	default:
		err = fmt.Errorf("%q is no job", job)
	}
	return err
}
