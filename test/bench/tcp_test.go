package main

import (
	"errors"
	"net"
	"testing"
)

// TestPeer has a peer follow every order.
func TestPeer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- peer([]string{l.Addr().String()}) }()
	s, err := accept(t.Context(), l, ended)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // after each order both ends agree on where the next begins
		for name, d := range map[string]func() error{
			"upload":     func() error { _, err := s.upload(3*tcpChunk + 1); return err },
			"download":   func() error { _, err := s.download(3*tcpChunk + 1); return err },
			"round trip": func() error { _, err := s.roundTrip(10); return err },
			"dial": func() error {
				d, err := s.dial(3)
				if err == nil && d <= 0 {
					err = errors.New("it took no time")
				}
				return err
			},
		} {
			if err := d(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	s.close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAcceptTellsOfAPeerThatEnds(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ended <- errors.New("no such program")
	if _, err := accept(t.Context(), l, ended); err == nil || err.Error() != "a peer ended before it was connected: no such program" {
		t.Error(err)
	}
}
