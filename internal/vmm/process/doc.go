// Package process is what the drivers whose VMM is a program of the host have in common: finding the program, running it
// for a VM, and watching that process until its end is understood.
package process
