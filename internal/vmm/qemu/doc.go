// Package qemu runs virtual machines with QEMU's microvm machine, on KVM where it is fast, else by software emulation.
//
// Every socket of a VMM is bound by the driver before QEMU is started, and handed to it as a listening descriptor: the
// driver connects at once, its connections wait in the backlog until QEMU takes them, and there is no moment at which
// anyone must look again and again whether a socket is there. QEMU is started paused; once its control connection answers,
// the console has been connected too, and the guest is let go: no line of the boot is lost.
package qemu
