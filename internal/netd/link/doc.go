// Package link is the ethernet between one VM and its TCP/IP stack.
//
// The VMM listens on a Unix stream socket and sends each frame after its length, four bytes in network order (QEMU's
// -netdev stream); we connect, and again whenever it accepts anew. Everything that arrives is hostile: a frame is looked
// at before the stack sees it, and what cannot be a frame ends this VM's connection and nothing else.
package link
