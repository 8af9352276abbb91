// Package cli is the banger command line.
package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/term"

	"banger/client"
	"banger/internal/system"
)

// Streams are the standard streams of a run of the command line.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// app is what every command is given: the edges to the world, and the global flags.
type app struct {
	Streams
	env  func(name string) (value string, set bool)
	dial func(ctx context.Context, autostart bool) (*client.Client, error)
	// doctor looks at the host, without a daemon.
	doctor func(ctx context.Context, r client.DoctorRequest) (client.Diagnosis, error)
	// system is this machine, as far as root changes it.
	system func() host
	// catch has the process's signals sent to a channel until stop is called.
	catch func(c chan<- os.Signal, signals ...os.Signal) (stop func())

	quiet   bool
	noInput bool
}

func newApp(s Streams) *app {
	a := &app{Streams: s, env: os.LookupEnv}
	a.dial = func(ctx context.Context, autostart bool) (*client.Client, error) {
		return client.Dial(ctx, client.Options{Autostart: autostart, Log: a.warn})
	}
	a.doctor = func(ctx context.Context, r client.DoctorRequest) (client.Diagnosis, error) {
		return client.Doctor(ctx, client.Options{}, r)
	}
	a.system = func() host { return system.New() }
	a.catch = func(c chan<- os.Signal, signals ...os.Signal) func() {
		signal.Notify(c, signals...)
		return func() { signal.Stop(c) }
	}
	return a
}

// warn prints one line for the user, unless --quiet is given.
func (a *app) warn(line string) {
	if !a.quiet {
		a.say("warning: " + line)
	}
}

// say prints one line about what banger does, apart from the data on standard output.
func (a *app) say(line string) {
	_, _ = io.WriteString(a.Err, "banger: "+safeLine(line)+"\n")
}

// fileOf returns the file that is a stream, for what only files can do; nil when there is none.
func fileOf(stream any) *os.File {
	f, _ := stream.(*os.File)
	return f
}

func isTerminal(stream any) bool {
	f := fileOf(stream)
	return f != nil && term.IsTerminal(int(f.Fd()))
}

// styled says whether decorations may be written to a stream: https://no-color.org, and terminals that cannot.
func (a *app) styled(stream any) bool {
	noColor, _ := a.env("NO_COLOR")
	kind, _ := a.env("TERM")
	return noColor == "" && kind != "dumb" && isTerminal(stream)
}

// environment turns -e values into K=V. A bare K is copied from our environment, or left out when it is not set there.
func (a *app) environment(values []string) []string {
	var env []string
	for _, v := range values {
		if strings.Contains(v, "=") {
			env = append(env, v)
		} else if value, set := a.env(v); set {
			env = append(env, v+"="+value)
		}
	}
	return env
}
