// Package lab holds the scenarios that need what only root on a whole machine has: KVM, device-mapper, loop devices,
// nftables, bridges, systemd. They run in the lab, a Debian virtual machine that command host boots; `make test-lab` does
// that, and `make lab` gives a shell in it. Build with the tag lab.
package lab
