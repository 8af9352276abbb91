package model

// Redirect leads what a VM sends to one port of its gateway to another port there, of the same protocol.
type Redirect struct {
	UDP  bool
	Port uint16 // that the guest uses
	To   uint16
}
