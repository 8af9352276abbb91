// Package daemon is where bangerd is put together: one function builds everything in order and takes it apart in reverse.
package daemon
