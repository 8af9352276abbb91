package system

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"banger/internal/helper/wire"
	"banger/internal/model"
	"banger/internal/version"
)

// Status is what is installed.
type Status struct {
	Installed bool            `json:"installed"` // wholly
	Owner     *int            `json:"owner"`     // uid of the user whom it serves; nil when nothing is installed
	Program   string          `json:"program"`
	Version   string          `json:"version"` // of this banger
	Services  []ServiceStatus `json:"services"`
}

// ServiceStatus is one service of the helper.
type ServiceStatus struct {
	Name    string `json:"name"`
	Unit    string `json:"unit"`
	Socket  string `json:"socket"`
	Version string `json:"version"` // of the one that answers, or ""
	Problem string `json:"problem"` // why it does not answer, or as it should; "" when it does
	Fix     string `json:"fix"`     // the command that mends that, or ""
}

// OK says whether everything is as it should be.
func (s Status) OK() bool {
	ok := s.Installed
	for _, v := range s.Services {
		ok = ok && v.Problem == ""
	}
	return ok
}

// Status looks at what is installed, and asks each service. Anybody may look; only the owner and root are answered.
func (s *System) Status(ctx context.Context) (Status, error) {
	path := s.path(filepath.Join(programDir, program))
	st := Status{Program: path, Version: version.Version, Services: []ServiceStatus{}}
	owner, err := s.owner()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return st, nil
	case err != nil:
		return st, err
	}
	st.Owner = &owner
	_, err = os.Stat(path)
	st.Installed = err == nil
	for _, v := range services() {
		one := ServiceStatus{Name: v.name, Unit: v.serviceName(), Socket: s.path(wire.Socket(v.name))}
		if _, err := s.installed(v); err != nil {
			st.Installed = false
			one.Problem, one.Fix = "its units are missing", wire.FixInstall
		} else {
			one.Version, one.Problem, one.Fix = s.ask(ctx, owner, one.Socket)
		}
		st.Services = append(st.Services, one)
	}
	return st, nil
}

func (s *System) ask(ctx context.Context, owner int, socket string) (answered, problem, fix string) {
	if s.o.UID != owner && s.o.UID != 0 {
		return "", "it answers its owner and root only", "sudo banger system status"
	}
	ctx, cancel := context.WithTimeout(ctx, helloLimit)
	defer cancel()
	answered, err := s.o.Hello(ctx, socket)
	switch {
	case errors.Is(err, model.ErrUnsupported): // nobody listens
		return "", "it does not listen", wire.FixRestart
	case err != nil:
		problem, fix = model.Remedy(err)
	case answered != version.Version:
		problem, fix = "it is of another version than this banger", wire.FixInstall
	}
	return answered, problem, fix
}
