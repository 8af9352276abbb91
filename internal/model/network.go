package model

import "time"

// DefaultPolicy is the network policy of a VM for which nothing is said.
const DefaultPolicy = PolicyPublic

// Denial is one destination that a guest wanted and did not get.
type Denial struct {
	Protocol    string // tcp, udp, icmp, dns
	Destination string // address:port, or a name that was asked for
	Rule        string // what said no
	Count       uint64
	Last        time.Time
}

// Verdict is what a policy says of one destination.
type Verdict struct {
	Allowed   bool
	Rule      string   // what decided
	Addresses []string // what the name stands for
}
