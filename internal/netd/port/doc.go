// Package port is one VM's attachment to the network.
//
// Each port has a TCP/IP stack of its own that takes every packet as if it were the destination. A connection is decided
// on first, then made from the host, then accepted; one that is refused is refused at once. Nothing of a port is shared
// with another, so that a VM that floods, stalls or breaks its stack does so to itself. Packets to VMs of the same group
// are handed to their links as they are.
package port
