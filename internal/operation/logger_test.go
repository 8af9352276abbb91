package operation_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"banger/internal/operation"
)

func TestEveryLineHasOneID(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := slog.New(operation.Handler(slog.NewTextHandler(&b, nil), "daemon")).With("pid", 1)
	log.Info("by itself")
	log.With("vm", "x").Info("by itself, of a VM")
	log.With(operation.ID("request")).With("vm", "x").Info("of a request")
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	for i, want := range []string{"op=daemon", "op=daemon", "op=request"} {
		if strings.Count(lines[i], "op=") != 1 || !strings.Contains(lines[i], want) {
			t.Errorf("%q does not carry %s alone", lines[i], want)
		}
	}
}
