package system

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"text/template"

	"banger/internal/helper/netcall"
	"banger/internal/helper/storagecall"
	"banger/internal/helper/wire"
)

// Where things are installed. Nobody but root can write there.
const (
	unitDir    = "/etc/systemd/system"
	programDir = "/usr/local/lib/banger"
	program    = "banger-helper"
)

// service is one of the helper's as systemd runs it.
type service struct {
	name string
	unit *template.Template
}

var (
	//go:embed units/storage.service
	storageUnit string
	//go:embed units/network.service
	networkUnit string
	//go:embed units/helper.socket
	socketUnit string
)

// services are those that are installed.
func services() []service {
	return []service{
		{storagecall.Service, template.Must(template.New("").Parse(storageUnit))},
		{netcall.Service, template.Must(template.New("").Parse(networkUnit))},
	}
}

func (s service) socketName() string  { return "banger-" + s.name + ".socket" }
func (s service) serviceName() string { return "banger-" + s.name + ".service" }

// ownerKey is the line of a socket's unit that says for whom it was installed.
const ownerKey = "SocketUser="

// units are the service's unit files by name, for the owner.
func (s service) units(owner int) (map[string]string, error) {
	values := map[string]string{
		"Name": s.name, "Owner": strconv.Itoa(owner), "Program": programDir + "/" + program,
		"Socket": wire.Socket(s.name), "Directory": strings.TrimPrefix(wire.Dir, "/run/"),
	}
	files := map[string]string{}
	socket := template.Must(template.New("").Parse(socketUnit))
	for name, unit := range map[string]*template.Template{s.socketName(): socket, s.serviceName(): s.unit} {
		var text strings.Builder
		if err := unit.Execute(&text, values); err != nil {
			return nil, fmt.Errorf("cannot write the unit %s: %w", name, err)
		}
		files[name] = text.String()
	}
	return files, nil
}

// ownerIn reads for whom a socket's unit was written; false when it is not one of ours.
func ownerIn(unit string) (int, bool) {
	for line := range strings.Lines(unit) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), ownerKey); ok {
			uid, err := strconv.Atoi(value)
			return uid, err == nil && uid > 0
		}
	}
	return 0, false
}
