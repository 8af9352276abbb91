// Package tap carries the frames of a tap by a packet socket beside its holder, in a VMM's network namespace.
//
// The socket is made by the daemon, which hands it over by descriptor, and can be made anew at any time, so that a restart of
// netd costs the guest its open connections and nothing else. Towards the rest of netd a tap looks as every other VMM
// does: it listens on a Unix socket for the one connection that carries frames, each after its length.
package tap
