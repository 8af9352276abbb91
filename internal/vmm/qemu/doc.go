// Package qemu runs VMs in QEMU's microvm machine.
//
// A VMM is born with everything it needs as inherited descriptors: the lock as its standard input and four listening
// sockets that the driver made in the VM's directory. The monitor and the console are already connected to when QEMU
// starts, so that no event and no line of the boot can be missed, nothing has to be waited for, and QEMU is never given
// a socket path, however long that is. It runs in a session of its own and outlives whoever started it.
package qemu
