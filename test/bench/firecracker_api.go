package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"banger/internal/unixsocket"
)

// apiCall is one call of Firecracker's API; all that make a machine are PUT.
type apiCall struct {
	path string
	body map[string]any
}

// firecrackerAPI speaks to the API at a socket, over one connection.
type firecrackerAPI struct{ client http.Client }

func newFirecrackerAPI(socket string) *firecrackerAPI {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return unixsocket.Dial(ctx, socket) }
	return &firecrackerAPI{http.Client{Transport: &http.Transport{DialContext: dial, MaxConnsPerHost: 1}}}
}

func (a *firecrackerAPI) close() { a.client.CloseIdleConnections() }

func (a *firecrackerAPI) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	var content io.Reader // of a GET there may be none
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, content)
	if err != nil {
		return nil, err
	}
	answer, err := a.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s is refused: %s", path, text)
	}
	return text, err
}

// readCalls asks a Firecracker that runs what it was told, and returns the calls that tell another the same.
func readCalls(ctx context.Context, socket string) ([]apiCall, error) {
	a := newFirecrackerAPI(socket)
	defer a.close()
	text, err := a.call(ctx, http.MethodGet, "/vm/config", nil)
	if err != nil {
		return nil, err
	}
	var config struct {
		Boot    map[string]any   `json:"boot-source"`
		Machine map[string]any   `json:"machine-config"`
		Vsock   map[string]any   `json:"vsock"`
		Drives  []map[string]any `json:"drives"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	calls := []apiCall{
		{"/machine-config", config.Machine},
		{"/boot-source", config.Boot},
		{"/serial", map[string]any{"serial_out_path": consoleFIFO}},
		{"/entropy", map[string]any{}},
		{"/vsock", config.Vsock},
	}
	// They are told in no order; the guest has them in that of their making, which banger's names give.
	slices.SortFunc(config.Drives, func(a, b map[string]any) int {
		return strings.Compare(fmt.Sprint(a["drive_id"]), fmt.Sprint(b["drive_id"]))
	})
	for _, d := range config.Drives {
		calls = append(calls, apiCall{fmt.Sprint("/drives/", d["drive_id"]), d})
	}
	if len(config.Boot) == 0 || len(config.Machine) == 0 || len(config.Vsock) == 0 || len(config.Drives) == 0 {
		return nil, fmt.Errorf("cannot read what Firecracker was told: %s", text)
	}
	return append(calls, apiCall{"/actions", map[string]any{"action_type": "InstanceStart"}}), nil
}
