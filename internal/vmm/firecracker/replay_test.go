package firecracker

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"banger/internal/model"
	"banger/internal/unixsocket"
)

// replay answers calls as a recording has them, in its order, and tells what differs.
func replay(t *testing.T, dir string, r recording) *api {
	t.Helper()
	l, err := unixsocket.Listen(filepath.Join(dir, "replay"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := unixsocket.Dial(t.Context(), filepath.Join(dir, "replay"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		conn.Close()
		<-done
		l.Close()
	})
	go func() {
		defer close(done)
		theirs, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer theirs.Close()
		in := bufio.NewReader(theirs)
		for _, e := range r.Exchanges {
			if err := answer(t, theirs, in, dir, e); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	return newAPI(conn)
}

func answer(t *testing.T, out net.Conn, in *bufio.Reader, dir string, e exchange) error {
	q, err := http.ReadRequest(in)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return err
	}
	var got, want any
	if err := errors.Join(json.Unmarshal(body, &got), json.Unmarshal([]byte(strings.ReplaceAll(string(e.Body), placeholder, dir)), &want)); err != nil {
		return err
	}
	if diff := cmp.Diff(want, got); q.Method != http.MethodPut || q.URL.Path != e.Path || diff != "" {
		t.Errorf("%s %s in place of %s (-recorded +got; record them anew):\n%s", q.Method, q.URL.Path, e.Path, diff)
	}
	text := strings.ReplaceAll(e.Answer, placeholder, dir)
	return (&http.Response{
		StatusCode: e.Status, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(text)), Body: io.NopCloser(strings.NewReader(text)),
	}).Write(out)
}

// TestReplayStart holds the calls of a start against those that a real Firecracker took.
func TestReplayStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	requests, err := configure(sample(t, dir), false, "")
	if err != nil {
		t.Fatal(err)
	}
	r := loadRecording(t, "start")
	if len(r.Exchanges) != len(requests) {
		t.Fatalf("%d calls, %d recorded", len(requests), len(r.Exchanges))
	}
	a := replay(t, dir, r)
	for _, q := range requests {
		if err := a.put(t.Context(), q); err != nil {
			t.Error(err)
		}
	}
}

// TestReplayFaults checks that what a real Firecracker refused comes back with its reason and of the right kind.
func TestReplayFaults(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		kind error
		says string
	}{
		"fault-kernel": {model.ErrNotFound, "No such file or directory"},
		"fault-drive":  {model.ErrNotFound, "No such file or directory"},
		"fault-image":  {model.ErrCorrupt, "Invalid Elf magic"},
		"fault-vcpus":  {model.ErrUnavailable, "vCPU"},
		"fault-kvm":    {model.ErrUnsupported, "/dev/kvm"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			c := sample(t, dir)
			requests, err := configure(c, false, "")
			if err != nil {
				t.Fatal(err)
			}
			if spoil := faults[name]; spoil != nil {
				requests = spoil(&c, requests)
			}
			r := loadRecording(t, name)
			a := replay(t, dir, r)
			for i, q := range requests[:len(r.Exchanges)] {
				err := a.put(t.Context(), q)
				if i < len(r.Exchanges)-1 {
					if err != nil {
						t.Error(err)
					}
					continue
				}
				if !errors.Is(err, want.kind) || !strings.Contains(err.Error(), want.says) || !strings.HasPrefix(err.Error(), "Firecracker refuses /") {
					t.Errorf("%v, of kind %v", err, model.KindOf(err))
				}
			}
		})
	}
}
