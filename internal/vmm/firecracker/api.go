package firecracker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"banger/internal/model"
	"banger/internal/vmm/process"
)

// maxAnswer caps what is read of one answer; an error's text is some hundred bytes long.
const maxAnswer = 64 << 10

// api is one connection to Firecracker's API, used by one goroutine at a time.
type api struct {
	conn net.Conn
	read *bufio.Reader
}

func newAPI(conn net.Conn) *api { return &api{conn: conn, read: bufio.NewReader(conn)} }

func (a *api) close() { a.conn.Close() }

// put makes one call and waits for its answer until ctx ends. What Firecracker refuses comes back with its own reason.
func (a *api) put(ctx context.Context, r request) error {
	stop := context.AfterFunc(ctx, func() { _ = a.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	status, body, err := a.call(ctx, r)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return model.Errorf(model.ErrUnavailable, "cannot ask Firecracker for %s: %w", r.path, err)
	}
	if status >= 200 && status < 300 {
		return nil
	}
	reason := reasonOf(body)
	return model.Errorf(kindOf(reason), "Firecracker refuses %s: %s", r.path, reason)
}

func (a *api) call(ctx context.Context, r request) (status int, body []byte, err error) {
	content, err := json.Marshal(r.body)
	if err != nil {
		return 0, nil, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://localhost"+r.path, bytes.NewReader(content))
	if err != nil {
		return 0, nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Accept", "application/json")
	if err := q.Write(a.conn); err != nil {
		return 0, nil, err
	}
	answer, err := http.ReadResponse(a.read, q)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("its answer has more than %d bytes", maxAnswer)
	}
	return answer.StatusCode, body, err
}

// reasonOf is what an answer gives as its reason.
func reasonOf(body []byte) string {
	const maxReason = 1000
	var fault struct {
		Message string `json:"fault_message"`
	}
	if json.Unmarshal(body, &fault) != nil || fault.Message == "" {
		fault.Message = string(body)
	}
	if reason := process.Printable(fault.Message[:min(len(fault.Message), maxReason)]); reason != "" {
		return reason
	}
	return "it gives no reason"
}

// kindOf finds the kind of error in Firecracker's words, of which the last part is often the C library's.
func kindOf(words string) error {
	for _, known := range []struct {
		text string
		kind error
	}{
		{"/dev/kvm", model.ErrUnsupported},
		{"Kvm error", model.ErrUnsupported},
		{"Invalid Elf magic", model.ErrCorrupt},
		{"Permission denied", model.ErrDenied},
		{"No such file or directory", model.ErrNotFound},
		{"No space left on device", model.ErrNoSpace},
		{"Cannot allocate memory", model.ErrNoSpace},
	} {
		if strings.Contains(words, known.text) {
			return known.kind
		}
	}
	return model.ErrUnavailable
}
