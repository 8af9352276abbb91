package model_test

import (
	"errors"
	"slices"
	"testing"

	"banger/internal/model"
)

func TestImageMain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		image      model.Image
		args, want []string
	}{
		{"nothing", model.Image{}, nil, nil},
		{"a command of ours", model.Image{}, []string{"a"}, []string{"a"}},
		{"its command", model.Image{Cmd: []string{"c", "d"}}, nil, []string{"c", "d"}},
		{"ours in place of its", model.Image{Cmd: []string{"c"}}, []string{"a"}, []string{"a"}},
		{"its entrypoint", model.Image{Entrypoint: []string{"e"}, Cmd: []string{"c"}}, nil, []string{"e", "c"}},
		{"ours for its entrypoint", model.Image{Entrypoint: []string{"e"}, Cmd: []string{"c"}}, []string{"a"}, []string{"e", "a"}},
		{"an init program that runs anyway", model.Image{Init: model.InitSystemd, Cmd: []string{"/sbin/init"}}, nil, nil},
		{"ours beside it", model.Image{Init: model.InitSystemd, Entrypoint: []string{"/usr/lib/systemd/systemd"}}, []string{"a"}, []string{"a"}},
		{"an init program that does not run", model.Image{Init: model.InitAgent, Cmd: []string{"/sbin/init"}}, nil, []string{"/sbin/init"}},
	} {
		if got := c.image.Main(c.args); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	image := model.Image{Entrypoint: make([]string, 1, 9), Cmd: []string{"c"}}
	if image.Main([]string{"a"}); len(image.Entrypoint) != 1 || image.Entrypoint[:2][1] != "" {
		t.Error("the image was changed")
	}
}

func TestIsInit(t *testing.T) {
	t.Parallel()
	for program, want := range map[string]bool{
		"/sbin/init": true, "/usr/sbin/init": true, "init": true, "/init": true, "/lib/systemd/systemd": true, "systemd": true,
		"/opt/app/init": false, "/usr/bin/tini": false, "bash": false, "": false, "/sbin/init.sh": false,
	} {
		if got := model.IsInit(program); got != want {
			t.Errorf("%q: %v", program, got)
		}
	}
}

func TestParseSignal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"SIGTERM": 15, "term": 15, "SIGQUIT": 3, "9": 9, "SIGRTMIN+3": 37, "RTMIN": 34, "SIGRTMAX-1": 63, "rtmax": 64, "64": 64,
	} {
		if got, err := model.ParseSignal(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "65", "-1", "SIGNOTHING", "SIG", "SIGRTMIN+31", "SIGRTMIN-1", "SIGRTMIN+x", "SIGSIGTERM"} {
		if got, err := model.ParseSignal(text); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}
