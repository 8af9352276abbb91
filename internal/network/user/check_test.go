package user

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/dirs"
	"banger/internal/model"
)

func TestCheckHostAsksNetd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		says   string
		status model.CheckStatus
		more   int
	}{
		"fine":    {`echo '[{"name":"resolver","status":"warning","detail":"none"}]'`, model.CheckOK, 1},
		"nothing": {`echo '[]'`, model.CheckOK, 0},
		"other":   {`echo hello`, model.CheckProblem, 0},
		"failing": {`echo '[]'; exit 1`, model.CheckProblem, 0},
		"endless": {`exec yes`, model.CheckProblem, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			program := filepath.Join(dir, "netd")
			if err := os.WriteFile(program, []byte("#!/bin/sh\n[ \"$*\" = check ] || exit 9\n"+test.says+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			d := New(Options{Dirs: dirs.Dirs{State: dir}, Program: program, Log: slog.New(slog.DiscardHandler)})
			defer d.Close()
			checks := d.CheckHost(t.Context())
			if len(checks) != 1+test.more || checks[0].Name != "network" || checks[0].Status != test.status {
				t.Errorf("%+v", checks)
			}
		})
	}
}

func TestCheckHostWithoutANetd(t *testing.T) {
	t.Parallel()
	d := New(Options{Log: slog.New(slog.DiscardHandler)}) // beside the tests' program there is none
	defer d.Close()
	if checks := d.CheckHost(t.Context()); len(checks) != 1 || checks[0].Status != model.CheckProblem || !strings.Contains(checks[0].Detail, "--network none") {
		t.Errorf("without a netd: %+v", checks)
	}
}
