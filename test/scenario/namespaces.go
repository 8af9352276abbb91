package scenario

import "github.com/rogpeppe/go-internal/testscript"

// World is the variable of a script in which the process id stands of whoever holds the user, network and mount
// namespaces that the script's commands run in; empty for the host's own.
const World = "WORLD"

// inWorld are the arguments that run argv in the script's world, if it has one.
func inWorld(ts *testscript.TestScript, argv []string) []string {
	pid := ts.Getenv(World)
	if pid == "" {
		return argv
	}
	return append([]string{
		"nsenter", "--preserve-credentials", "-U", "-n", "-m", "-t", pid, "--", "/usr/bin/env", "--chdir=" + ts.MkAbs("."), "--",
	}, argv...)
}
