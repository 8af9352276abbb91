// Package scenario is what testscript scenarios on real virtual machines share, wherever they run.
//
// Each script has a home and a state directory of its own, so that scripts run side by side; images and kernels, which
// nobody writes to, are built once and shared. Whatever a script leaves (a daemon, a VM, a file) is reported as its failure
// and taken away.
package scenario
