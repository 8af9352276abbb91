package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const peerArgument = "peer"

// What the server has its peer do: a letter and a number in nine bytes. All times are the server's, but for dialing.
const (
	doSend = 's' // send so many bytes
	doTake = 't' // take so many bytes, and answer
	doEcho = 'e' // send so many bytes back, each by itself
	doDial = 'd' // make another connection, and answer how many nanoseconds that took
)

const (
	orderBytes  = 9
	answerBytes = 8
	tcpChunk    = 256 << 10
	tcpLimit    = 2 * time.Minute // for one order, on a host that is very busy
)

// peer connects to a server and does what that says until it hangs up.
func peer(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: peer ADDRESS")
	}
	address, err := net.ResolveTCPAddr("tcp4", args[0])
	if err != nil {
		return err
	}
	conn, err := net.DialTCP("tcp4", nil, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	buf := make([]byte, tcpChunk)
	for {
		var order [orderBytes]byte
		if _, err := io.ReadFull(conn, order[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := follow(conn, address, order[0], int64(binary.BigEndian.Uint64(order[1:])), buf); err != nil {
			return err
		}
	}
}

func follow(conn net.Conn, address *net.TCPAddr, what byte, n int64, buf []byte) error {
	var answer uint64
	switch what {
	case doSend:
		return send(conn, n, buf)
	case doEcho:
		for range n {
			if err := take(conn, 1, buf); err != nil {
				return err
			}
			if err := send(conn, 1, buf); err != nil {
				return err
			}
		}
		return nil
	case doTake:
		if err := take(conn, n, buf); err != nil {
			return err
		}
	case doDial:
		begun := time.Now()
		another, err := net.DialTCP("tcp4", nil, address)
		answer = uint64(time.Since(begun))
		if err != nil {
			return err
		}
		defer another.Close()
	default:
		return fmt.Errorf("there is no order %q", what)
	}
	_, err := conn.Write(binary.BigEndian.AppendUint64(nil, answer))
	return err
}

func send(conn net.Conn, n int64, buf []byte) error {
	for n > 0 {
		m, err := conn.Write(buf[:min(n, int64(len(buf)))])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

func take(conn net.Conn, n int64, buf []byte) error {
	for n > 0 {
		m, err := conn.Read(buf[:min(n, int64(len(buf)))])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

// server is the host's end of a connection to a peer.
type server struct {
	listener net.Listener
	conn     net.Conn
	buf      []byte
}

// accept waits for the peer that was told of l, or for its end.
func accept(ctx context.Context, l net.Listener, ended <-chan error) (*server, error) {
	type accepted struct {
		conn net.Conn
		err  error
	}
	got := make(chan accepted, 1)
	go func() {
		conn, err := l.Accept()
		got <- accepted{conn, err}
	}()
	select {
	case a := <-got:
		return &server{listener: l, conn: a.conn, buf: make([]byte, tcpChunk)}, a.err
	case err := <-ended:
		l.Close()
		return nil, fmt.Errorf("a peer ended before it was connected: %w", err)
	case <-ctx.Done():
		l.Close()
		return nil, context.Cause(ctx)
	}
}

func (s *server) close() {
	s.conn.Close()
	s.listener.Close()
}

func (s *server) order(what byte, n int64) error {
	if err := s.conn.SetDeadline(time.Now().Add(tcpLimit)); err != nil {
		return err
	}
	_, err := s.conn.Write(binary.BigEndian.AppendUint64([]byte{what}, uint64(n)))
	return err
}

func (s *server) answer() (uint64, error) {
	var b [answerBytes]byte
	_, err := io.ReadFull(s.conn, b[:])
	return binary.BigEndian.Uint64(b[:]), err
}

// upload times n bytes from the peer.
func (s *server) upload(n int64) (time.Duration, error) {
	begun := time.Now()
	if err := s.order(doSend, n); err != nil {
		return 0, err
	}
	err := take(s.conn, n, s.buf)
	return time.Since(begun), err
}

// download times n bytes to the peer.
func (s *server) download(n int64) (time.Duration, error) {
	begun := time.Now()
	if err := s.order(doTake, n); err != nil {
		return 0, err
	}
	if err := send(s.conn, n, s.buf); err != nil {
		return 0, err
	}
	_, err := s.answer()
	return time.Since(begun), err
}

// roundTrip is the median of n bytes there and back, one after the other.
func (s *server) roundTrip(n int64) (time.Duration, error) {
	if err := s.order(doEcho, n); err != nil {
		return 0, err
	}
	var took []time.Duration
	for range n {
		begun := time.Now()
		if err := send(s.conn, 1, s.buf); err != nil {
			return 0, err
		}
		if err := take(s.conn, 1, s.buf); err != nil {
			return 0, err
		}
		took = append(took, time.Since(begun))
	}
	return median(took), nil
}

// dial is the median of n connections that the peer makes, by its own clock.
func (s *server) dial(n int64) (time.Duration, error) {
	var took []time.Duration
	for range n {
		if err := s.order(doDial, 1); err != nil {
			return 0, err
		}
		t, err := s.answer()
		if err != nil {
			return 0, err
		}
		conn, err := s.listener.Accept()
		if err != nil {
			return 0, err
		}
		conn.Close()
		took = append(took, time.Duration(t))
	}
	return median(took), nil
}
