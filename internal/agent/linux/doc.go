// Package linux is the agent's operating system in a real guest.
//
// Two processes run of one program. The kernel starts /init of the initramfs as process 1, which splits off the agent
// before there is a Go runtime (see cmd/banger-agent), and from then on only does what nothing but process 1 can: become the
// image's init program, or stay to reap orphans. The agent does all else and never has to be replaced under an open
// connection. Its name begins with @, by which systemd knows at shutdown that a process must live until the very end.
package linux
