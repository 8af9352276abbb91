// Package e2e drives the built programs through scripts, one per verb, against a real daemon with real virtual machines.
//
// Each script in testdata has a home and a state directory of its own, so that scripts run side by side; images and
// kernels, which nobody writes to, are built once and shared. Whatever a script leaves (a daemon, a VM, a file) is
// reported as its failure and taken away. Build with the tag e2e; `make test-e2e` does.
package e2e
