// Package firecracker runs VMs in Firecracker.
//
// A VMM is started with the VM's directory as its working directory, so that its sockets have short names however long
// that directory's is, and is then told what to run over its API. From then on the driver needs it no more: it runs in a
// session of its own and outlives whoever started it. What it says of itself goes into a FIFO that it holds open for
// reading too, so that a daemon's end is nothing to it: what nobody reads is dropped when the FIFO is full.
//
// Firecracker's machine has no power switch: Linux can only reset it, or halt for ever. So the guest is told
// (banger.off=keyboard) to end by the keyboard controller's reset, which Firecracker takes for an orderly end; every
// other reset, of a panic or of a reboot, is a triple fault (reboot=t), which it reports as an error. Its drives have no
// serials of our choice: the guest is told their order (banger.drives=…).
package firecracker
