package tap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"banger/internal/unixsocket"
)

// Bridge carries frames between a packet socket and whoever connects to a Unix socket, one at a time.
type Bridge struct {
	packet   *os.File
	listener *net.UnixListener
	path     string
	log      *slog.Logger
	tasks    sync.WaitGroup

	mu   sync.Mutex
	conn net.Conn // nil while nobody is connected
	over bool
}

// New listens at path. The bridge owns packet.
func New(packet *os.File, path string, log *slog.Logger) (*Bridge, error) {
	listener, err := unixsocket.Listen(path)
	if err != nil {
		packet.Close()
		return nil, err
	}
	b := &Bridge{packet: packet, listener: listener, path: path, log: log}
	b.tasks.Go(b.receive)
	b.tasks.Go(b.accept)
	return b, nil
}

// Close ends the bridge and waits for it. Twice is fine.
func (b *Bridge) Close() {
	b.end()
	b.tasks.Wait()
}

// Over says whether the bridge has ended, as it does with its tap.
func (b *Bridge) Over() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

// end closes everything, once.
func (b *Bridge) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return
	}
	b.over = true
	_ = os.Remove(b.path)
	b.listener.Close()
	b.packet.Close()
	if b.conn != nil {
		b.conn.Close()
	}
}

func (b *Bridge) connect(conn net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		b.conn = conn
	}
	return !b.over
}

func (b *Bridge) connected() net.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conn
}

func (b *Bridge) accept() {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return
		}
		if !b.connect(conn) {
			conn.Close()
			return
		}
		err = b.send(conn)
		b.connect(nil)
		conn.Close()
		if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENXIO) {
			b.end()
		}
	}
}

// receive carries the guest's frames. What nobody is connected for is lost, as on a cable that leads nowhere.
func (b *Bridge) receive() {
	defer b.end()
	buf := make([]byte, 4+vnetSize+maxFrame)
	for {
		n, err := b.packet.Read(buf[4:])
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				b.log.Info("a tap is gone", "error", err)
			}
			return
		}
		frame, err := complete(buf[4 : 4+n])
		conn := b.connected()
		if err != nil || conn == nil {
			continue
		}
		// The length takes the place of the end of the header, which has been read.
		whole := buf[vnetSize : 4+vnetSize+len(frame)]
		binary.BigEndian.PutUint32(whole, uint32(len(frame)))
		if _, err := conn.Write(whole); err != nil {
			conn.Close() // the other direction notices
		}
	}
}

// send carries frames to the guest until the connection or the tap ends. One that the tap does not take is lost.
func (b *Bridge) send(conn net.Conn) error {
	in := bufio.NewReaderSize(conn, 64<<10)
	buf := make([]byte, vnetSize+maxFrame) // the header stays zero: all checksums are made
	var head [4]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > maxFrame {
			return fmt.Errorf("a frame of %d bytes", n)
		}
		whole := buf[:vnetSize+int(n)]
		if _, err := io.ReadFull(in, whole[vnetSize:]); err != nil {
			return err
		}
		if _, err := b.packet.Write(whole); err != nil {
			if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENXIO) || errors.Is(err, os.ErrClosed) {
				return err
			}
		}
	}
}
