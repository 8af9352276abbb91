package netd

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"banger/internal/netd/netdtest"
)

// The benchmarks compare netd's path, with a stack at either end of the frames, to a bare pass-through: the same bytes
// in frames of the same size over the same kind of socket to a loopback connection, without any stack.
//
//	go test -run '^$' -bench . ./internal/netd

const benchChunk = 1 << 20

func BenchmarkUpload(b *testing.B) {
	for _, mtu := range []uint32{1500, 9000, 65520} {
		b.Run(fmt.Sprint(mtu), func(b *testing.B) {
			w := newWorld(b)
			var received sync.WaitGroup
			received.Add(1)
			w.internet.TCP(b, web, func(conn *net.TCPConn) {
				io.Copy(io.Discard, conn)
				received.Done()
			})
			g := netdtest.New(b, 2, mtu)
			w.set(description(g, "box", "public"))
			conn, err := g.Dial(context.Background(), web)
			if err != nil {
				b.Fatal(err)
			}
			chunk := make([]byte, benchChunk)
			b.SetBytes(benchChunk)
			for b.Loop() {
				if _, err := conn.Write(chunk); err != nil {
					b.Fatal(err)
				}
			}
			conn.CloseWrite()
			received.Wait()
		})
	}
}

func BenchmarkDownload(b *testing.B) {
	for _, mtu := range []uint32{1500, 65520} {
		b.Run(fmt.Sprint(mtu), func(b *testing.B) {
			w := newWorld(b)
			w.internet.TCP(b, web, func(conn *net.TCPConn) {
				chunk := make([]byte, benchChunk)
				for {
					if _, err := conn.Write(chunk); err != nil {
						return
					}
				}
			})
			g := netdtest.New(b, 2, mtu)
			w.set(description(g, "box", "public"))
			conn, err := g.Dial(context.Background(), web)
			if err != nil {
				b.Fatal(err)
			}
			chunk := make([]byte, benchChunk)
			b.SetBytes(benchChunk)
			for b.Loop() {
				if _, err := io.ReadFull(conn, chunk); err != nil {
					b.Fatal(err)
				}
			}
			conn.Close()
		})
	}
}

// BenchmarkRoundTrip is one byte there and back.
func BenchmarkRoundTrip(b *testing.B) {
	w := newWorld(b)
	w.internet.TCP(b, web, echo)
	g := w.guest(2, "box", "public")
	conn, err := g.Dial(context.Background(), web)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 1)
	for b.Loop() {
		conn.Write(buf)
		if _, err := io.ReadFull(conn, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPassThrough is what the frames alone cost.
func BenchmarkPassThrough(b *testing.B) {
	for _, mtu := range []uint32{1500, 65520} {
		b.Run(fmt.Sprint(mtu), func(b *testing.B) {
			l, err := net.Listen("unix", filepath.Join(b.TempDir(), "s"))
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			tcp, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer tcp.Close()
			var ends sync.WaitGroup
			ends.Go(func() { // the server
				conn, err := tcp.Accept()
				if err == nil {
					io.Copy(io.Discard, conn)
					conn.Close()
				}
			})
			ends.Go(func() { // the middle
				frames, err := l.Accept()
				if err != nil {
					return
				}
				out, err := net.Dial("tcp4", tcp.Addr().String())
				if err != nil {
					return
				}
				passThrough(out, frames)
				out.Close()
				frames.Close()
			})
			guest, err := net.Dial("unix", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			frame := binary.BigEndian.AppendUint32(make([]byte, 0, mtu+4), mtu)
			frame = append(frame, make([]byte, mtu)...)
			b.SetBytes(benchChunk)
			for b.Loop() {
				for sent := 0; sent < benchChunk; sent += int(mtu) {
					if _, err := guest.Write(frame); err != nil {
						b.Fatal(err)
					}
				}
			}
			guest.Close()
			ends.Wait()
		})
	}
}

func passThrough(out io.Writer, frames io.Reader) {
	buf := make([]byte, 1<<16)
	var head [4]byte
	for {
		if _, err := io.ReadFull(frames, head[:]); err != nil {
			return
		}
		frame := buf[:binary.BigEndian.Uint32(head[:])]
		if _, err := io.ReadFull(frames, frame); err != nil {
			return
		}
		if _, err := out.Write(frame); err != nil {
			return
		}
	}
}
